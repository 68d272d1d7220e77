"""ADE20K as in the scene parsing challenge of 2016 (methods: section 23)."""

from dataclasses import replace
from typing import ClassVar, Literal

from trainers.data.base import BaseDataConfig
from trainers.data.download import local_root
from trainers.data.labelmap import NO_CLASS, LabelMap
from trainers.data.layout import Decoding, Layout, listed
from trainers.interface.labels import IGNORE

CLASSES = listed(
    "wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, "
    "door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, "
    "field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, "
    "signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, "
    "stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, "
    "toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, "
    "arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, "
    "television receiver, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, "
    "poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, "
    "basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, "
    "animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, "
    "ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag"
)
IMAGES, MASKS = "images/", "annotations/"
_TWICE = (
    "; ADE20K's own masks hold no 255, those of UniMatch do: their classes begin at 0, so set data.mask_values: indices"
)


class Ade20kConfig(BaseDataConfig):
    """ADEChallengeData2016: images/training/<id>.jpg and annotations/training/<id>.png, 150 classes. A line that
    names only the image leads to the mask of the same name."""

    official_val: ClassVar[bool] = True

    name: Literal["ade20k"]
    root: str
    """Folder that holds images/ and annotations/, or the URI of one or of an archive in object storage."""
    mask_values: Literal["label_ids", "indices"] = "label_ids"
    """What the masks hold. `label_ids`: 0 = other, which is ignored, and classes 1 .. 150, as the data set has them.
    `indices`: 0 .. 149 and 255 = ignore, as the masks that UniMatch V2's authors give out."""

    def layout(self) -> Layout:
        return Layout(
            root=local_root(self.root),
            classes=CLASSES,
            resolve=_resolve,
            decoding=self.decoding(len(CLASSES)),
        )

    def decoding(self, num_classes: int) -> Decoding:
        given = super().decoding(num_classes)
        if given.label_map is not None or self.mask_values == "indices":
            return given
        ids = {value: value - 1 for value in range(1, num_classes + 1)}
        pairs = tuple(({0: IGNORE, IGNORE: NO_CLASS} | ids).items())
        return replace(given, label_map=LabelMap(pairs=pairs, hint=_TWICE))


def _resolve(columns: tuple[str, ...]) -> tuple[str, str | None]:
    image = columns[0]
    if len(columns) > 1:
        return image, columns[1]
    stem = image.removeprefix("/").rpartition(".")[0]
    if not stem.startswith(IMAGES):
        return image, None
    return image, f"{stem.replace(IMAGES, MASKS, 1)}.png"
