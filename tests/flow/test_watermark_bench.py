"""The bench of the invisible mark runs, and its figures are well-formed; whether they hold is for the bench to say."""

from ops.bench.watermark import run


def test_a_quick_run_tells_bits_payloads_quality_and_false_detections() -> None:
    result = run(quick=True)
    assert set(result) == {"bench", "figures", "machine", "peers"}
    figures = {figure["name"]: figure for figure in result["figures"]}
    assert figures["payloads whole, as published"]["value"] == 1.0
    assert figures["payloads whole, H.264 CRF 28"]["value"] == 1.0
    assert figures["payloads whole, crop 10 %"]["value"] == 1.0
    assert figures["false detections in 1 unmarked clips that are also searched"]["holds"]
    assert figures["false detections in 20 unmarked clips"]["holds"]
    assert figures["false detections in 400 readings of them by tenants' keys"]["holds"]
    assert 30 < figures["PSNR of luma, lowest clip"]["value"] < 60
    ours = result["peers"][0]
    assert ours["clips"] == 2
    assert ours["bits_right"]["as published"] > 0.95
    by_key = result["peers"][2]
    assert (by_key["name"], by_key["clips"]) == ("reelbus, the same by a tenant's key", 1)
    assert by_key["payloads_whole"] == {"as published": 1.0, "H.264 CRF 28": 1.0, "crop 10 %": 1.0}
    assert result["machine"]["keyed_clear_shares"][0] < 0.1
    assert result["machine"]["false_rate_below"] == 0.15
