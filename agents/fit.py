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
        height, width = (*views, 0, 0)[:2]
        theirs = (known.size or height, known.size or width, known.channels)
        if views != theirs:
            raise ValueError(
                f"the views of {whose} are {views}, and the world model's {theirs}: take a model that was trained on "
                "such views"
            )
    learned_kind = getattr(known, "motion_kind", None)
    wrong_kind = None not in (kind, learned_kind) and kind != learned_kind
    if wrong_kind or (motion_dim is not None and known.motion_dim not in (0, motion_dim)):
        given = _motions(kind or learned_kind, known.motion_dim if motion_dim is None else motion_dim)
        raise ValueError(
            f"the motions of {whose} are {given}, and the world model's {_motions(learned_kind, known.motion_dim)}: "
            "take a model that was trained in this world"
        )


def _motions(kind: MotionKind | None, dim: int) -> str:
    return f"of {dim} numbers" if kind is None else f"{kind!r} of {dim} numbers"
