"""The formats of checkpoints: how each names its tensors, and what it means by them.

A format is a row of ``FORMATS``: by which names it is known, how its names become
those of a weight file, and what its library does that the tensors do not tell.  After
renaming the same three steps serve all: queries, keys and values are joined, layer
scale is folded, and a position of the CLS token is added where it has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import CheckpointError, Source

Array = NDArray[np.float32]
Tensors = dict[str, Array]

#: How a position embedding is resized; the first is that of files that do not say.
POSITION_RESIZES = ("bicubic_offset", "bicubic", "bicubic_antialias")

#: Of values in 0..1, RGB: what the authors' evaluation of Betrayed by Attention uses.
_AUTHORS_MEAN = (0.43216, 0.394666, 0.37645)
_AUTHORS_STD = (0.22803, 0.22145, 0.216989)

Renames = tuple[tuple[str, str], ...]

#: Spatio-temporal blocks behind the first, which the authors' evaluation does not run either.
FURTHER_BLOCK = r"temporal_transformer\.([1-9][0-9]*)\."

#: The names of DINO, which those of DINOv2 and timm extend, and of the block.
_DINO_NAMES: Renames = (
    (r"temporal_transformer\.0\.", "correlator."),
    (r"(cls_token$|pos_embed$|patch_embed\.|blocks\.|norm\.)", r"encoder.\1"),
)
_DINOV2_NAMES: Renames = (*_DINO_NAMES, (r"register_tokens$", "encoder.register_tokens"))
_TIMM_NAMES: Renames = (*_DINO_NAMES, (r"reg_token$", "encoder.register_tokens"))
#: Those of transformers; its modules' own names since version 5, and those of its
#: files, which are the older ones.
_BLOCK = r"(encoder\.blocks\.\d+\.)"
_TRANSFORMERS_NAMES: Renames = (
    (r"(?:encoder\.layer|layers)\.(\d+)\.", r"encoder.blocks.\1."),
    (r"embeddings\.position_embeddings$", "encoder.pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.", "encoder.patch_embed.proj."),
    (r"embeddings\.(cls_token|register_tokens)$", r"encoder.\1"),
    (r"layernorm\.", "encoder.norm."),
    (rf"{_BLOCK}layernorm_before\.", r"\1norm1."),
    (rf"{_BLOCK}layernorm_after\.", r"\1norm2."),
    (rf"{_BLOCK}attention\.attention\.(query|key|value)\.", r"\1attn.\2."),
    (rf"{_BLOCK}attention\.q_proj\.", r"\1attn.query."),
    (rf"{_BLOCK}attention\.k_proj\.", r"\1attn.key."),
    (rf"{_BLOCK}attention\.v_proj\.", r"\1attn.value."),
    (rf"{_BLOCK}attention\.(?:output\.dense|o_proj)\.", r"\1attn.proj."),
    (rf"{_BLOCK}layer_scale([12])\.lambda1$", r"\1ls\2.gamma"),
    (rf"{_BLOCK}intermediate\.dense\.", r"\1mlp.fc1."),
    (rf"{_BLOCK}output\.dense\.", r"\1mlp.fc2."),
)

#: What covey does not compute, by the names it goes by anywhere.
_UNKNOWN_PARTS = (
    (r"\.mlp\.(w12|w3|weights_in|weights_out|gate_proj)\.", "a gated (SwiGLU) MLP"),
    (r"dist(illation)?_token$|head_dist\.", "a distillation token"),
    (r"norm_pre\.|pre_layernorm\.", "a norm before the blocks"),
    (r"\.(q_norm|k_norm)\.", "a norm of queries and keys"),
    (r"\brope|relative_position|rel_pos", "rotary or relative positions"),
    (r"patch_embed\.backbone\.|^vit\.embeddings\.patch_embeddings\.backbone\.",
     "a convolutional network before the blocks"),
    (r"\.attn\.(q|v)_bias$", "biases of queries and values alone"),
)


@dataclass(frozen=True)
class Format:
    """One way of writing a network down.

    marks: patterns, each of which some name has; absent: which none has.  prefix:
    what its names may have before them.  wrapper, library: what it is known by beside
    names, "" for anything.  dropped: patterns of what covey has no use for.
    no_class_position: the position embedding may be of patches alone.  defaults: as the
    config of a training names them, where nothing else says.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    names: Renames
    absent: tuple[str, ...] = ()
    prefix: str = r"(module\.)?"
    wrapper: str = ""
    library: str = ""
    dropped: tuple[str, ...] = ()
    has_layer_scale: bool = False
    no_class_position: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def stripped(self, name: str) -> str:
        return re.sub(f"^(?:{self.prefix})", "", name)

    def fits(self, source: Source) -> bool:
        names = [self.stripped(name) for name in source.tensors]

        def has(pattern: str) -> bool:
            return any(re.search(pattern, name) for name in names)

        return (
            (not self.wrapper or source.wrapper == self.wrapper)
            and (not self.library or self.library in source.library)
            and all(map(has, self.marks))
            and not any(map(has, self.absent))
        )

    def renamed(self, name: str) -> str:
        """The weight file's name; one that has none keeps its own."""
        name = self.stripped(name)
        for pattern, replacement in self.names:
            name = re.sub(f"^{pattern}", replacement, name)
        return name

    def further_block(self, name: str) -> str | None:
        """The number of the spatio-temporal block behind the first that it is of."""
        match = re.match(FURTHER_BLOCK, self.stripped(name))
        return match[1] if match else None

    def drops(self, name: str) -> bool:
        stripped = self.stripped(name)
        return any(re.match(pattern, stripped) for pattern in self.dropped)


_VIT = (r"^cls_token$", r"^patch_embed\.proj\.weight$", r"^blocks\.0\.attn\.qkv\.weight$")
_SCALED = (*_VIT, r"^blocks\.0\.ls1\.gamma$", r"^blocks\.0\.ls2\.gamma$")
_HEADS = (r"head\.", r"fc_norm\.", r"head_drop\.")
_PATCHES = r"^embeddings\.patch_embeddings\.projection\.weight$"
_HF_DROPPED = (r"pooler\.", r"classifier\.", r"embeddings\.mask_token$")

#: In the order in which they are tried.
FORMATS = (
    Format(
        "ba",
        "Betrayed by Attention, the authors' checkpoint",
        (r"^temporal_transformer\.0\.", r"^encoder\.cls_token$"),
        _DINO_NAMES[:1],
        wrapper="model_state_dict",
        dropped=(FURTHER_BLOCK,),
        defaults={"mean": _AUTHORS_MEAN, "std": _AUTHORS_STD, "cls_saliency": True},
    ),
    Format(
        "covey",
        "backbone and block of one's own training",
        (r"^temporal_transformer\.0\.",),
        _DINO_NAMES,
        prefix=r"(module\.)?(encoder\.)?",
        dropped=(FURTHER_BLOCK,),
    ),
    Format(
        "dinov2-registers",
        "DINOv2 with registers, the authors' names",
        (*_SCALED, r"^register_tokens$"),
        _DINOV2_NAMES,
        prefix=r"(module\.)?(backbone\.)?",
        dropped=(r"mask_token$", r"dino_head\.", r"ibot_head\.", *_HEADS),
        has_layer_scale=True,
        defaults={"position_resize": "bicubic_antialias"},
    ),
    Format(
        "dinov2",
        "DINOv2, the authors' names",
        (*_SCALED, r"^mask_token$"),
        _DINOV2_NAMES,
        prefix=r"(module\.)?(backbone\.)?",
        dropped=(r"mask_token$", r"dino_head\.", r"ibot_head\.", *_HEADS),
        has_layer_scale=True,
    ),
    Format(
        "timm-dinov2",
        "DINOv2 of timm",
        _SCALED,
        _TIMM_NAMES,
        dropped=_HEADS,
        no_class_position=True,
        has_layer_scale=True,
        defaults={"position_resize": "bicubic_antialias"},
    ),
    Format(
        "timm",
        "vision transformer of timm",
        _VIT,
        _TIMM_NAMES,
        library="architecture",
        dropped=_HEADS,
        no_class_position=True,
        has_layer_scale=True,
        defaults={"position_resize": "bicubic_antialias"},
    ),
    Format(
        "dino-full",
        "DINO, full checkpoint: the teacher",
        _VIT,
        _DINO_NAMES,
        prefix=r"(module\.)?(backbone\.)?",
        wrapper="teacher",
        dropped=_HEADS,
        defaults={"cls_saliency": True},
    ),
    Format(
        "dino",
        "DINO, backbone",
        _VIT,
        _DINO_NAMES,
        prefix=r"(module\.)?(backbone\.|encoder\.)?",
        dropped=_HEADS,
        defaults={"cls_saliency": True},
    ),
    Format(
        "hf-dinov2-registers",
        "DINOv2 with registers of transformers",
        (_PATCHES, r"^embeddings\.register_tokens$", r"\.layer_scale1\.lambda1$"),
        _TRANSFORMERS_NAMES,
        prefix=r"(module\.)?(dinov2_with_registers\.)?",
        dropped=_HF_DROPPED,
        has_layer_scale=True,
        defaults={"position_resize": "bicubic_antialias"},
    ),
    Format(
        "hf-dinov2",
        "DINOv2 of transformers",
        (_PATCHES, r"\.layer_scale1\.lambda1$"),
        _TRANSFORMERS_NAMES,
        prefix=r"(module\.)?(dinov2\.)?",
        dropped=_HF_DROPPED,
        has_layer_scale=True,
        defaults={"position_resize": "bicubic"},
    ),
    Format(
        "hf-vit",
        "vision transformer (DINO) of transformers",
        (_PATCHES, r"\.layernorm_before\."),
        _TRANSFORMERS_NAMES,
        prefix=r"(module\.)?(vit\.)?",
        dropped=_HF_DROPPED,
        defaults={"position_resize": "bicubic", "ln_eps": 1e-12},
    ),
)


def recognised(source: Source, name: str | None = None) -> Format:
    """The format that ``source`` is in, or the one of this name.

    Raises CheckpointError for what is none, or has parts that covey does not compute.
    """
    for pattern, part in _UNKNOWN_PARTS:
        for tensor in source.tensors:
            if re.search(pattern, tensor):
                raise CheckpointError(f"{tensor}: covey has no {part.removeprefix('a ')}")
    for each in FORMATS:
        if each.name == name if name else each.fits(source):
            return each
    known = ", ".join(each.name for each in FORMATS)
    if name:
        raise CheckpointError(f"format: expected one of {known}, found {name}")
    seen = ", ".join(list(source.tensors)[:5])
    raise CheckpointError(
        "not a vision transformer as covey knows them: names of no known format "
        f"({known}); missing: a patch embedding, a CLS token, blocks; found: {seen or 'nothing'}"
    )


def library_config(source: Source) -> dict[str, Any]:
    """What a folder's config.json says, under the names of a training's config.

    Raises CheckpointError for what covey does not compute.
    """
    told, inputs = source.library, source.inputs
    arguments, trained = (told.get(key) or {} for key in ("model_args", "pretrained_cfg"))
    if not (isinstance(arguments, dict) and isinstance(trained, dict)):
        raise CheckpointError("config.json: model_args, pretrained_cfg: expected objects")
    for key, expected in (("hidden_act", "gelu"), ("use_swiglu_ffn", False)):
        if told.get(key, expected) != expected:
            raise CheckpointError(
                f"config.json: {key}: expected {str(expected).lower()}, found {told[key]}"
            )
    for key in ("act_layer", "norm_layer", "mlp_layer", "block_fn", "qk_norm", "pos_embed"):
        if arguments.get(key) not in (None, False, "learn"):
            raise CheckpointError(f"config.json: model_args: covey has no {key} {arguments[key]}")
    found = {
        "heads": told.get("num_attention_heads", arguments.get("num_heads")),
        "ln_eps": told.get("layer_norm_eps"),
        "mean": inputs.get("image_mean", trained.get("mean")),
        "std": inputs.get("image_std", trained.get("std")),
        "license": trained.get("license"),
        "cls_saliency": True if trained.get("tag") == "dino" else None,
        "patch_size": told.get("patch_size"),
    }
    return {key: value for key, value in found.items() if value is not None}


# ---- What all formats need after renaming ------------------------------------------


def join_projections(tensors: Tensors) -> None:
    """attn.query, .key and .value of every block become attn.qkv."""
    for name in [name for name in tensors if ".attn.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        missing = [part for part in parts if part not in tensors]
        if missing:
            raise CheckpointError("missing: " + ", ".join(missing))
        shapes = {tensors[part].shape for part in parts}
        if len(shapes) > 1 or () in shapes:
            raise CheckpointError(f"{name}: queries, keys and values of different shapes")
        tensors[name.replace(".query.", ".qkv.")] = np.concatenate([tensors[p] for p in parts])
        for part in parts:
            del tensors[part]


def fold_layer_scale(tensors: Tensors) -> list[str]:
    """gamma * (W x + b) is (gamma W) x + gamma b: ls1 goes into attn.proj, ls2 into
    mlp.fc2.  Returns the names of what was folded."""
    scales = [name for name in tensors if re.search(r"\.ls[12]\.gamma$", name)]
    for name in scales:
        prefix, which = name.removesuffix(".gamma").rsplit(".", 1)
        linear = f"{prefix}.{'attn.proj' if which == 'ls1' else 'mlp.fc2'}"
        gamma = tensors.pop(name).reshape(-1)
        for part in (f"{linear}.weight", f"{linear}.bias"):
            if part not in tensors:
                raise CheckpointError(f"missing: {part}, which {name} scales")
            array = tensors[part]
            if array.shape[:1] != gamma.shape:
                raise CheckpointError(f"{name}: {gamma.size} scales for {part}: {array.shape}")
            tensors[part] = array * gamma.reshape(-1, *(1,) * (array.ndim - 1))
    return scales


def add_class_position(tensors: Tensors) -> None:
    """A position embedding of patches alone, [.., G * G, C], gets a row of zeros for
    the CLS token, which has its position in itself."""
    positions = tensors.get("encoder.pos_embed")
    if positions is None or positions.ndim < 2:
        return
    rows, channels = positions.shape[-2:]
    if rows > 1 and round(rows**0.5) ** 2 == rows:
        grid = positions.reshape(rows, channels)
        tensors["encoder.pos_embed"] = np.concatenate([np.zeros_like(grid[:1]), grid])
