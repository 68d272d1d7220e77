"""Our own trainer behind the seam: the one place of the study's side that knows the training config."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipix_tune.trainer.exported import ExportedConfig, Recipe
from ipix_tune.trainer.interface import Checked, Config, Epoch, Report, Section, SpaceError
from ipix_tune.trainer.own import device_grant
from ipix_tune.trainer.own.keys import OwnKeys
from ipix_tune.trainer.own.method_section import drop_other_methods_keys, other_methods_key, own_keys
from ipix_tune.trainer.own.metrics import metric_fault
from ipix_tune.trainer.own.own_config import has_val, own_config
from ipix_tune.trainer.peers import ALONE, Peers
from ipix_tune.trainer.resources import ResourcesConfig, Value
from trainers.common.config_faults import Lines
from trainers.common.config_keys import set_dotted
from trainers.common.errors import DataError
from trainers.common.object_uri import is_uri
from trainers.common.yaml_file import validate
from trainers.config import TrainConfig
from trainers.dead_keys import without_refused


class OwnTrainer(OwnKeys):
    """`trainers`: semi-supervised segmentation. See :class:`ipix_tune.trainer.interface.Trainer`."""

    kind = "training config"
    length_key = "trainer.schedule.epochs"
    has_recipe = True
    joined = True

    def check_section(self, section: Section, *, source: str, lines: Lines) -> None:
        """Nothing: the section is partial, and what it lacks is searched."""

    def data_of(self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]) -> Any:
        """Where `method.name` is searched, keys of `trainer.method` that belong to another of the searched methods and
        that the chosen one does not have are left out; a key that none of them has is an error. Likewise a key of
        `trainer` that is refused under a searched value: `interpixel.t2_scale` under `interpixel.distance: cr`."""
        data: dict[str, Any] = copy.deepcopy(dict(section))
        for name, value in values.items():
            set_dotted(data, name, value)
        if "method.name" in values and isinstance(data.get("method"), dict):
            given = (section.get("method") or {}).get("name")
            drop_other_methods_keys(data["method"], choices.get("method.name", (given,)), section)
        without_refused(data, values)
        return data

    def values_fault(
        self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]
    ) -> tuple[str, str] | None:
        return other_methods_key(section, values, choices)

    def validated(self, data: Any, *, source: str, lines: Lines) -> Config:
        return validate(TrainConfig, data, source=source, lines=lines)

    def check_trial(self, config: Config, *, resources: ResourcesConfig, selects: bool) -> None:
        asked = own_config(config)
        if asked.data.holdout is None:
            raise SpaceError(
                "trainer.data.holdout is missing: a study scores its trials on training images that are cut off for "
                "it, e.g. data.holdout: {images: 60, source: labelled}",
                path=("trainer", "data"),
            )
        if asked.evaluation.final and selects:
            raise SpaceError(
                "trainer.evaluation.final is true: a search must not see the validation list (data.val); remove it "
                "(the export sets it for the final training). It may stay with sampler.name: grid and scheduler.name: "
                "none, where every configuration runs in full and none is selected",
                path=("trainer", "evaluation", "final"),
            )
        if asked.data.batch_size % resources.workers:
            raise SpaceError(
                f"data.batch_size = {asked.data.batch_size} is the total over {resources.workers} workers and cannot "
                "be divided among them; change it or resources.workers",
                path=("resources", "workers"),
            )
        if why := device_grant.refused(asked.precision.device, resources):
            raise SpaceError(why, path=("trainer", "precision", "device"))

    def changed(self, config: Config, changes: Mapping[str, Value]) -> Config:
        """Left out are keys that another `method.name` does not have, and what is refused under a new value."""
        data = config.model_dump(mode="json")
        for name, value in changes.items():
            set_dotted(data, name, value)
        if "method.name" in changes:
            data["method"] = own_keys(data["method"])
        without_refused(data, changes)
        named = ", ".join(f"{name}={value}" for name, value in changes.items())
        return validate(TrainConfig, data, source=f"confirm ({named})", lines={})

    def max_epochs(self, config: Config) -> int:
        return own_config(config).schedule.epochs

    def evaluated_every(self, config: Config) -> int:
        return own_config(config).evaluation.every

    def seeds(self) -> str | None:
        return None

    def seed(self, config: Config) -> int:
        return own_config(config).seed

    def with_seed(self, config: Config, number: int, *, first: int) -> Config:
        """Where the labelled split is drawn, it is drawn anew for each number. The validation list, where there is one,
        is evaluated at the end."""
        asked = own_config(config)
        update: dict[str, Any] = {"seed": first + number}
        if asked.data.draw is not None:
            draw = asked.data.draw.model_copy(update={"seed": asked.data.draw.seed + 1 + number})
            update["data"] = asked.data.model_copy(update={"draw": draw})
        if has_val(asked):
            update["evaluation"] = asked.evaluation.model_copy(update={"final": True})
        return asked.model_copy(update=update)

    def score(self, section: Section) -> str | None:
        return None

    def metric_fault(self, name: str, section: Section, *, cost: bool) -> str | None:
        return metric_fault(name, section, cost=cost)

    def granted(self, config: Config, resources: ResourcesConfig) -> Config:
        return device_grant.granted(own_config(config), resources)

    def device(self, config: Config, resources: ResourcesConfig) -> str:
        return device_grant.describe_device(own_config(config).precision.device, resources)

    def idle(self, config: Config, resources: ResourcesConfig, cluster: Mapping[str, float]) -> str | None:
        return device_grant.idle_gpus(own_config(config).precision.device, resources, cluster)

    def check(self, config: Config, resources: ResourcesConfig) -> list[str]:
        from ipix_tune.trainer.own.preflight import check_run

        return check_run(own_config(config), workers=resources.workers)[0]

    def plan(self, configs: Sequence[Config], resources: ResourcesConfig, *, measured: bool) -> Checked:
        from ipix_tune.trainer.own.memory_forecast import gpu_bytes_here, measured_memory, plan_memory
        from ipix_tune.trainer.own.preflight import check_run
        from ipix_tune.trainer.own.step_timing import measure

        asked = [own_config(config) for config in configs]
        lines, steps = check_run(asked[0], workers=resources.workers)
        if (share := device_grant.shares(asked[0], resources)) is not None:
            lines = [*lines, share]
        threads = max(1, int(resources.cpus_per_worker))
        timing = measure(asked, steps_per_epoch=steps, threads=threads) if measured else None
        memory, too_much = plan_memory(asked[0], resources, steps_per_epoch=steps, gpu_bytes=gpu_bytes_here())
        if measured:
            memory = [*memory, *measured_memory(asked[0], resources, steps_per_epoch=steps)]
        warnings = [one for one in (device_grant.few_images(asked[0], resources), too_much) if one is not None]
        return Checked(lines=lines, memory=memory, warnings=warnings, timing=timing)

    def check_kinds(self, kinds: Iterable[tuple[Mapping[str, Value], Config]], resources: ResourcesConfig) -> None:
        from ipix_tune.trainer.own.networks import check_networks

        check_networks(((values, own_config(config)) for values, config in kinds), workers=resources.workers)

    def check_node(self, config: Config, seen: str) -> str:
        from trainers.data.open import open_data

        data = own_config(config).data
        found = open_data(data, final=False).split_hash
        if seen and found != seen:
            raise DataError(f"data.root: {data.layout().root} holds other images than the driver's")
        return found

    def fetches_data(self, config: Config) -> bool:
        return is_uri(own_config(config).data.root or "")

    def facts(self, config: Config) -> tuple[Sequence[str], str]:
        from trainers.data.open import open_data

        data = open_data(own_config(config).data, final=False)
        return list(data.classes), data.split_hash

    def data_state(self, config: Config) -> str:
        """Of what the lists name and what those files hold; it does not depend on where the data lie, nor on the files'
        times: what was copied, moved or touched is the same.

        All files are read for it, once; what was found out is kept until a file changes (`trainers.data.facts`)."""
        from ipix_tune.trainer.own.data_state import data_state

        return data_state(own_config(config))

    def recipe(
        self, config: Config, *, rows: Sequence[Mapping[str, Any]], confirmed: Any, seeds: int, give_back: bool | None
    ) -> Recipe:
        from ipix_tune.trainer.own.final_recipe import recipe

        return recipe(own_config(config), rows=rows, confirmed=confirmed, seeds=seeds, give_back=give_back)

    def exported(self, config: Config, *, final: bool | None, recipe: Recipe | None, file: str) -> ExportedConfig:
        from ipix_tune.trainer.own.final_recipe import head_lines

        asked = own_config(config if recipe is None else recipe.config)
        listed = has_val(asked)
        if recipe is not None:
            lines = head_lines(recipe, drawn=asked.data.draw is not None, file=file)
            return ExportedConfig(config=asked, final=asked.evaluation.final, has_val=listed, lines=lines)
        use = listed and final is not False
        asked = asked.model_copy(update={"evaluation": asked.evaluation.model_copy(update={"final": use})})
        line = f"# {_seeds(asked)} the run's own, so that training repeats it; export --final takes fresh ones"
        return ExportedConfig(config=asked, final=use, has_val=listed, lines=[line])

    def how_to_run(self, config: Config) -> Sequence[str]:
        return ["train it: ipix-tune train THIS_FILE"]

    def smoke(self, section: Section) -> dict[str, Any]:
        """Two epochs of two steps, each evaluated."""
        schedule = {**(section.get("schedule") or {}), "epochs": 2, "steps_per_epoch": 2}
        evaluation = {**(section.get("evaluation") or {}), "every": 1}
        return {**section, "schedule": schedule, "evaluation": evaluation}

    def limit_memory(self, data: Section, gpus: float) -> None:
        if data["precision"]["device"] != "cpu":
            device_grant.limit_memory(gpus)

    def parts(self, data: Section) -> int:
        return int(data["optim"]["accumulate"])

    def in_parts(self, config: Config, parts: int) -> Config:
        asked = own_config(config)
        return asked.model_copy(update={"optim": asked.optim.model_copy(update={"accumulate": parts})})

    def run(self, config: Config, folder: Path, report: Report, peers: Peers = ALONE) -> None:
        from trainers.interface.epoch_record import Decision, EpochRecord
        from trainers.loop.fit import fit

        def told(record: EpochRecord) -> Decision:
            epoch = Epoch(
                epoch=record.epoch,
                metrics=record.metrics,
                split_hash=record.split_hash,
                saved=record.checkpoint is not None,
            )
            return Decision.CONTINUE if report(epoch) else Decision.STOP

        fit(own_config(config), folder, callbacks=[told])


def _seeds(config: TrainConfig) -> str:
    """Such as: seed 3 is; or: seed 0, seeds.init 2 are."""
    single = [f"seeds.{name} {value}" for name, value in config.seeds if value is not None]
    return f"{', '.join([f'seed {config.seed}', *single])} {'are' if single else 'is'}"
