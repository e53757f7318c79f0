"""Event files of calor, read by TensorBoard and compared with those of PyTorch; run by hand with both at hand.

    CALOR_KEEP=/tmp/kept cargo test --test tensorboard
    python tests/torch/events.py /tmp/kept/runs
"""
import io
import math
import pathlib
import sys
import tempfile

import numpy
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={k: 0 for k in ("scalars", "histograms", "images", "tensors")})
    return events.Reload()


def pixels(event):
    return numpy.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


folder = pathlib.Path(sys.argv[1])
ours = read(folder)
loss = [(e.step, e.value) for e in ours.Scalars("loss/train")]
# the second run began at step 3
assert [s for s, _ in loss] == [0, 1, 2, 3], loss
assert numpy.allclose([v for _, v in loss], [1, 1 / 2, 1 / 3, 0.75]), loss
# steps after it are gone, too
assert "not a number" not in ours.Tags()["scalars"] or not ours.Scalars("not a number")
assert [(e.step, e.value) for e in read(folder / "both_train").Scalars("both")] == [(3, 0.25), (4, 0.125)]
assert [(e.step, e.value) for e in read(folder / "both_te_st").Scalars("both")] == [(3, 0.5)]
assert ours.Tensors("note/text_summary")[0].tensor_proto.string_val[0].decode() == "**Små** steps"
assert "text" in ours.summary_metadata["note/text_summary"].plugin_data.plugin_name

color = (numpy.arange(60, dtype=numpy.uint8) * 4).reshape(3, 4, 5)
gray = (torch.arange(6) / 4).reshape(2, 3)
spread = (torch.arange(1000, dtype=torch.float32) - 300) / 64
with tempfile.TemporaryDirectory() as other:
    writer = SummaryWriter(other)
    writer.add_histogram("spread", spread, 1)
    writer.add_histogram("halves", spread.bfloat16().float(), 1)
    writer.add_histogram("whole", torch.tensor([3, 3, 3]), 2)
    writer.add_histogram("truths", torch.tensor([1, 0]), 2)
    writer.add_image("color", color, 1)
    writer.add_image("gray", gray, 1, dataformats="HW")
    writer.close()
    theirs = read(other)
    for tag in ("spread", "halves", "whole", "truths"):
        a, b = (t.Histograms(tag)[0].histogram_value for t in (ours, theirs))
        assert a.bucket == b.bucket, tag
        assert len(a.bucket_limit) == len(b.bucket_limit) and numpy.allclose(a.bucket_limit, b.bucket_limit, 1e-12, 0), tag
        for name in ("min", "max", "num", "sum", "sum_squares"):
            # PyTorch sums in f32
            assert math.isclose(getattr(a, name), getattr(b, name), rel_tol=1e-5), (tag, name)
    assert (pixels(ours.Images("color")[0]) == pixels(theirs.Images("color")[0])).all()
    assert (pixels(ours.Images("color")[0]) == color.transpose(1, 2, 0)).all()
    mine = pixels(ours.Images("gray")[0])
    assert (mine == pixels(theirs.Images("gray")[0])[..., 0]).all(), mine
print("scalars, curves, 4 histograms, a text and 2 pictures are as written")
