"""COCO with the masks of COCO-Stuff, or of UniMatch V2 (methods: section 23)."""

from dataclasses import replace
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from trainers.data.base import BaseDataConfig
from trainers.data.download import local_root
from trainers.data.labelmap import LabelMap
from trainers.data.layout import Decoding, Layout, listed
from trainers.interface.labels import IGNORE

_OBJECTS = listed(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign, "
    "stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, "
    "backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, "
    "baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, "
    "knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, "
    "couch, potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse, remote, "
    "keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush, hair brush"
)
STUFF = listed(
    "banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, "
    "ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, "
    "floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, "
    "furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, "
    "mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, "
    "railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, "
    "stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, "
    "wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, "
    "window-blind, window-other, wood"
)
LABELS = (*_OBJECTS, *STUFF)
"""COCO-Stuff's 182 labels; a mask holds the place of a label here, and 255 where nothing is labelled."""
UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Places of the eleven objects that were never annotated, such as street sign and hat."""
OBJECTS = tuple(name for place, name in enumerate(_OBJECTS) if place not in UNUSED)


class CocoConfig(BaseDataConfig):
    """COCO 2017: train2017/<id>.jpg, val2017/<id>.jpg, and PNG masks. A line that names only the image leads to
    `<mask_dir>/train2017/<id>.png`, or where that is not there to `<mask_dir>/<id>.png`."""

    official_val: ClassVar[bool] = True

    name: Literal["coco"]
    root: str
    """Folder that holds train2017/ and val2017/, or the URI of one or of an archive in object storage."""
    labels: Literal["objects", "objects_and_stuff"] = "objects"
    """`objects`: the 80 of COCO and background, 81 classes, as UniMatch and UniMatch V2 report. `objects_and_stuff`:
    the 171 classes of COCO-Stuff without a background."""
    mask_values: Literal["indices", "label_ids"] = "indices"
    """What the masks hold. `indices`: classes from 0 on, as the masks that UniMatch's authors give out (`objects`).
    `label_ids`: 0 .. 181, as COCO-Stuff's stuffthingmaps; with `objects`, stuff and all that is not labelled
    is background."""
    mask_dir: str = "masks"
    """Folder of the masks under `root`, such as stuffthingmaps."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class index."""
        return ("background", *OBJECTS) if self.labels == "objects" else (*OBJECTS, *STUFF)

    def layout(self) -> Layout:
        return Layout(
            root=local_root(self.root),
            classes=self.classes,
            resolve=self._resolve,
            decoding=self.decoding(len(self.classes)),
        )

    def decoding(self, num_classes: int) -> Decoding:
        given = super().decoding(num_classes)
        if given.label_map is not None or self.mask_values == "indices":
            return given
        return replace(given, label_map=_from_label_ids(self.labels))

    def _resolve(self, columns: tuple[str, ...]) -> tuple[str, str | None]:
        image = columns[0]
        if len(columns) > 1:
            return image, columns[1]
        below = PurePosixPath(self.mask_dir) / PurePosixPath(image.removeprefix("/")).with_suffix(".png")
        beside = PurePosixPath(self.mask_dir) / f"{PurePosixPath(image).stem}.png"
        return image, str(below if (local_root(self.root) / below).is_file() else beside)


def _from_label_ids(labels: Literal["objects", "objects_and_stuff"]) -> LabelMap:
    """COCO-Stuff's label ids to class indices."""
    if labels == "objects":
        classes = dict.fromkeys(range(len(LABELS)), 0) | {IGNORE: 0}
        kept, first = range(len(_OBJECTS)), 1
    else:
        classes, kept, first = dict.fromkeys(UNUSED, IGNORE), range(len(LABELS)), 0
    classes |= {place: index for index, place in enumerate((one for one in kept if one not in UNUSED), start=first)}
    return LabelMap(pairs=tuple(classes.items()))
