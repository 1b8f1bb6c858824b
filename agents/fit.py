"""Whether a world model fits what it is given: views of its sizes, and motions of its kind and length."""

from __future__ import annotations

from ..world_model.motion import MotionKind
from ..world_model.protocol import WorldModel


def require_fit(
    model: WorldModel,
    whose: str,
    *,
    views: tuple[int, ...] | None = None,
    kind: MotionKind | None = None,
    motion_dim: int | None = None,
) -> None:
    """Check that a model can take in the views and motions of someone else; what is None is not asked about.

    Args:
        model: Whose config tells what it was trained on; a size or kind that it leaves open fits all.
        whose: Who has those views and motions, for the message, such as "the environment".
        views: (H, W, C).
        kind: Of the motions.
        motion_dim: Length A of a motion.

    Raises:
        ValueError: It does not fit; names both sides.
    """
    known = model.config
    if views is not None:
        if len(views) != 3:
            raise ValueError(f"the views of {whose} are {views}, and a world model's (H, W, C)")
        theirs = (known.size or views[0], known.size or views[1], known.channels)
        if views != theirs:
            raise ValueError(
                f"the views of {whose} are {views}, and the world model's {theirs}: take a model that was trained on "
                "such views"
            )
    learned = getattr(known, "motion_kind", None)
    wrong_kind = kind is not None and learned not in (None, kind)
    if wrong_kind or (motion_dim is not None and known.motion_dim not in (0, motion_dim)):
        theirs = _motions(None if kind is None else learned, None if motion_dim is None else known.motion_dim)
        raise ValueError(
            f"the motions of {whose} are {_motions(kind, motion_dim)}, and the world model's {theirs}: take a model "
            "that was trained in this world"
        )


def _motions(kind: MotionKind | None, dim: int | None) -> str:
    """Word what was asked about."""
    return " ".join([*([] if kind is None else [repr(kind)]), *([] if dim is None else [f"of {dim} numbers"])])
