"""The registry of methods: one line of import, one entry in the union, one in `BUILDERS`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from trainers.interface.method import Method, MethodContext
from trainers.methods.advsemseg import AdvSemSeg, AdvSemSegConfig
from trainers.methods.ael import Ael, AelConfig
from trainers.methods.alonso import Alonso, AlonsoConfig
from trainers.methods.cac import Cac, CacConfig
from trainers.methods.cct import Cct, CctConfig
from trainers.methods.classmix import ClassMix, ClassMixConfig
from trainers.methods.cps import Cps, CpsConfig
from trainers.methods.cutmixseg import CutMixSeg, CutMixSegConfig
from trainers.methods.dmt import Dmt, DmtConfig
from trainers.methods.dsbn import Dsbn, DsbnConfig
from trainers.methods.dstcbc import DstCbc, DstCbcConfig
from trainers.methods.ecs import Ecs, EcsConfig
from trainers.methods.fixmatch import FixMatch, FixMatchConfig
from trainers.methods.gct import Gct, GctConfig
from trainers.methods.meanteacher import MeanTeacher, MeanTeacherConfig
from trainers.methods.pc2seg import Pc2Seg, Pc2SegConfig
from trainers.methods.pseudoseg import PseudoSeg, PseudoSegConfig
from trainers.methods.psmt import PsMt, PsMtConfig
from trainers.methods.s4gan import S4Gan, S4GanConfig
from trainers.methods.st import St, StConfig
from trainers.methods.stpp import StPlusPlus, StPlusPlusConfig
from trainers.methods.students import NaiveStudent, NaiveStudentConfig, NoisyStudent, NoisyStudentConfig
from trainers.methods.supervised import Supervised, SupervisedConfig
from trainers.methods.u2pl import U2pl, U2plConfig
from trainers.methods.ucc import Ucc, UccConfig
from trainers.methods.unimatch import UniMatch, UniMatchConfig
from trainers.methods.unimatch_v2 import UniMatchV2, UniMatchV2Config

MethodConfig = Annotated[
    SupervisedConfig
    | FixMatchConfig
    | UniMatchConfig
    | UniMatchV2Config
    | MeanTeacherConfig
    | CutMixSegConfig
    | ClassMixConfig
    | CpsConfig
    | CctConfig
    | GctConfig
    | AelConfig
    | U2plConfig
    | UccConfig
    | AlonsoConfig
    | PsMtConfig
    | PseudoSegConfig
    | StConfig
    | StPlusPlusConfig
    | DstCbcConfig
    | AdvSemSegConfig
    | S4GanConfig
    | CacConfig
    | Pc2SegConfig
    | DsbnConfig
    | EcsConfig
    | DmtConfig
    | NaiveStudentConfig
    | NoisyStudentConfig,
    Field(discriminator="name"),
]

BUILDERS: dict[str, Any] = {
    "supervised": Supervised,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
    "unimatch_v2": UniMatchV2,
    "meanteacher": MeanTeacher,
    "cutmixseg": CutMixSeg,
    "classmix": ClassMix,
    "cps": Cps,
    "cct": Cct,
    "gct": Gct,
    "ael": Ael,
    "u2pl": U2pl,
    "ucc": Ucc,
    "alonso": Alonso,
    "psmt": PsMt,
    "pseudoseg": PseudoSeg,
    "st": St,
    "stpp": StPlusPlus,
    "dstcbc": DstCbc,
    "advsemseg": AdvSemSeg,
    "s4gan": S4Gan,
    "cac": Cac,
    "pc2seg": Pc2Seg,
    "dsbn": Dsbn,
    "ecs": Ecs,
    "dmt": Dmt,
    "naive_student": NaiveStudent,
    "noisy_student": NoisyStudent,
}


def build_method(config: MethodConfig, context: MethodContext) -> Method:
    """The method that ``config`` names."""
    method: Method = BUILDERS[config.name](config, context)
    return method
