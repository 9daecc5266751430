"""A nearly white video, made and marked by the muxer, is made lighter by other people."""

from ops.bench.watermark import _try


def test_the_mark_of_a_nearly_white_video_outlives_brightness() -> None:
    tried = _try(("the model's world", 29, frozenset({"brightness + 25"}), False, False))
    assert tried.clip.lift > 1.0
    assert tried.clip.psnr_db > 44
    _, whole = tried.ours["brightness + 25"]
    assert whole
