"""Published checkpoints from files: read safely, in our conventions, as a run or the beginning of one."""

import argparse
import functools
import json
import os
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from glimpseworld.world_model.published import own_conventions, published_model, read_published
from glimpseworld.world_model.reference import own_key
from glimpseworld.world_model.seq_jepa import SeqJEPA
from glimpseworld.world_model.views import normalize_views

GOLDEN = Path(__file__).parent / "golden"
STATISTICS = {  # of red, green and blue in [0, 1], as published
    "rotation": ([0.5016, 0.5037, 0.5060], [0.1030, 0.0999, 0.0969]),
    "translation": ([0.4467, 0.4398, 0.4066], [0.2241, 0.2215, 0.2239]),
}


@functools.cache
def golden(case):
    weights = runpy.run_path(str(GOLDEN / "weights.py"))["golden_state_dict"]
    return weights(json.loads((GOLDEN / "shapes.json").read_text())[case])


def probed(case):
    """As the published code has it in a file: behind DataParallel, with the heads of probes beside the model."""
    weights = {f"module.{key}": value for key, value in golden(case).items()}
    return weights | {
        "module.online_linprobe.0.weight": torch.zeros(55, 640),
        "online_equiprobe.2.bias": torch.zeros(4),
    }


@pytest.mark.parametrize("kind", ["bare", "published", "nested", "safetensors"])
def test_every_layout_of_a_file_gives_the_same_weights(tmp_path, kind):
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(probed("saccade_m4"), path)
    else:
        beside = {"optimizer": {"state": {}}, "min_loss": 0.1, "epoch": 9, "args": argparse.Namespace(seed=42)}
        published = {"model": probed("saccade_m4"), **beside}
        torch.save(
            {"bare": golden("saccade_m4"), "published": published, "nested": {"state_dict": golden("saccade_m4")}}[
                kind
            ],
            path,
        )
    weights = read_published(path)
    assert set(weights) == {own_key(key) for key in golden("saccade_m4")}
    for key, value in golden("saccade_m4").items():
        assert torch.equal(weights[own_key(key)], value)


@pytest.mark.parametrize(("case", "kind"), [("rotation_m3", "rotation"), ("saccade_m4", "translation")])
def test_our_views_and_motions_are_to_our_model_what_theirs_are_to_theirs(case, kind):
    """Within the first layer, away from the border, where padding is the mean there and mid-grey here."""
    theirs = SeqJEPA.from_reference(golden(case)).eval()
    ours = SeqJEPA.from_reference(own_conventions({own_key(k): v for k, v in golden(case).items()}, kind)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in STATISTICS[kind])
    published = (torch.from_numpy(pixels).movedim(-1, -3) / 255 - mean) / std
    for name in ("encoder", "target_encoder"):
        first = [
            encoder.bn1(encoder.conv1(views))[:, :, 3:-3, 3:-3]
            for encoder, views in ((getattr(theirs, name), published), (getattr(ours, name), normalize_views(pixels)))
        ]
        torch.testing.assert_close(first[1], first[0], atol=1e-4, rtol=0)
        assert first[0].std() > 0.3
    motions = torch.randn(4, 3, ours.config.motion_dim)
    assert ours.motion_embedding is not None
    assert theirs.motion_embedding is not None
    expected = theirs.motion_embedding(motions / 2 if kind == "translation" else motions)
    torch.testing.assert_close(ours.motion_embedding(motions), expected)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Malicious(), protocol=2), "nothing else is unpickled"),
        (b"not a checkpoint at all", r"cannot read weights\.pth: it is damaged, or holds objects\. Expected"),
        (b"", "cannot read"),
        ({"weights": torch.zeros(2)}, "missing"),
        ({"model": [torch.zeros(2)]}, "holds no weights"),
        (Malicious(), "nothing else is unpickled"),
    ],
)
def test_what_is_no_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    for name in ("weights.pth", "weights.safetensors"):
        if isinstance(content, bytes):
            Path(name).write_bytes(content)
        else:
            torch.save(content, name)
        with pytest.raises(ValueError, match=message if name == "weights.pth" else "cannot read"):
            published_model(read_published(Path(name)), "rotation", 4, 3)
    assert not Path("pwned").exists()
    with pytest.raises(ValueError, match="there is no checkpoint"):
        read_published(Path("nowhere.pt"))


def test_a_checkpoint_of_another_world_is_told(tmp_path):
    torch.save(golden("saccade_m4"), tmp_path / "weights.pt")
    assert not published_model(read_published(tmp_path / "weights.pt"), "translation", 2, 3).training
    with pytest.raises(ValueError, match="motions of 2 numbers; the world gives 3 and 4"):
        published_model(read_published(tmp_path / "weights.pt"), "rotation", 4, 3)
    torch.save(golden("rotation_m3_unconditioned"), tmp_path / "weights.pt")
    assert published_model(read_published(tmp_path / "weights.pt"), "rotation", 4, 3).motion_embedding is None
