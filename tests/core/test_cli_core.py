"""The command line without a broker: options, exit codes, sentences, checks of demo results."""

import subprocess
import sys

import pytest
import typer
from PIL import Image, ImageFont
from typer.testing import CliRunner

from ops.cli.app import EXTRA_OF_MODULE, app, exit_code, sentence
from ops.cli.connection import Connection, connected
from ops.cli.demo_results import ending_faults
from ops.cli.demo_run import MARKER, _own_directory
from ops.cli.footage import Footage, differences, places_of
from ops.cli.up import submit_command
from ops.doctor import Check, NotInstalled, examine
from ops.settings import Settings, SettingsError
from ops.view.sheet import CELL_PX, Row, contact_sheet, wrapped
from producers.client import one_shot
from schemas.errors import Fatal, InvalidMessage, JobRejected, Transient
from schemas.events import JobState, Progress, Reason
from schemas.request import Output


def run(*arguments, **options):
    return CliRunner().invoke(app, arguments, **options)


# ---- options and settings ----------------------------------------------------------------------------------------


@pytest.fixture
def place_of(monkeypatch):
    """Runs a command line against a command that keeps its Place."""
    for name in ("REELBUS_STORE", "REELBUS_BOOTSTRAP_SERVERS", "REELBUS_KAFKA"):
        monkeypatch.delenv(name, raising=False)
    seen = []

    def look(place, word: str = "") -> None:
        seen.append((place, word))

    tree = typer.Typer()
    tree.callback()(app.registered_callback.callback)
    tree.command()(connected(look))

    def place_of(*arguments):
        result = CliRunner().invoke(tree, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return seen.pop()

    return place_of


def test_connection_options_stand_before_or_after_the_command(place_of):
    before, _ = place_of("--store", "/a", "look", "--word", "x")
    after, word = place_of("look", "--store", "/a", "--word", "x")
    assert before.settings.store == after.settings.store == "/a"
    assert word == "x"


def test_the_option_after_the_command_wins_and_the_others_stay(place_of):
    place, _ = place_of("--store", "/a", "--prefix", "p", "look", "--store", "/b")
    assert (place.settings.store, place.settings.prefix) == ("/b", "p")


def test_options_win_over_the_environment(place_of, monkeypatch):
    monkeypatch.setenv("REELBUS_STORE", "/env")
    assert place_of("look")[0].settings.store == "/env"
    assert place_of("look", "--store", "/option")[0].settings.store == "/option"


def test_kafka_properties_come_from_file_and_options(place_of, tmp_path):
    file = tmp_path / "kafka.properties"
    file.write_text("sasl.username=file\nsecurity.protocol=SASL_SSL\n")
    place, _ = place_of("look", "--kafka-config", str(file), "--kafka", "sasl.username=option", "--kafka", "debug=")
    assert place.settings.kafka == {"sasl.username": "option", "security.protocol": "SASL_SSL", "debug": ""}


def test_a_kafka_property_without_a_value_is_wrong_usage(place_of):
    with pytest.raises(SettingsError, match="--kafka 'x': expected KEY=VALUE"):
        place_of("look", "--kafka", "x")


def test_a_broker_of_the_users_is_one_named_by_option_or_environment(place_of, monkeypatch):
    assert not place_of("look")[0].own_broker
    assert place_of("look", "--bootstrap-servers", Settings().bootstrap_servers)[0].own_broker
    monkeypatch.setenv("REELBUS_BOOTSTRAP_SERVERS", "kafka:9092")
    assert place_of("look")[0].own_broker


def test_the_next_command_reaches_the_same_pipeline_and_shows_no_secret(place_of):
    place, _ = place_of("look", "--store", "/a", "--kafka", "sasl.password=hunter2")
    text = submit_command("127.0.0.1:5", place)
    assert "--bootstrap-servers 127.0.0.1:5 --store /a --kafka sasl.password=..." in text
    assert "hunter2" not in text


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2), (InvalidMessage("x"), 2), (JobRejected("code", "x"), 3), (Transient("x"), 4),
        (Fatal("x"), 1), (KeyboardInterrupt(), 130), (FileNotFoundError(), 1),
    ],
)  # fmt: skip
def test_exit_codes(error, code):
    assert exit_code(error) == code


def test_a_missing_extra_is_named():
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert "pip install 'reelbus[gpu]'" in sentence(error)
    assert sentence(FileNotFoundError(2, "No such file or directory", "a.json")) == "a.json: No such file or directory"


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "file.json", "--prompt", "x"],
        ["submit", "file.json", "--lane", "bulk"],
        ["submit", "--prompt", "x", "--size", "640"],
        ["submit", "--prompt", "x", "--lane", "fast"],
        ["run", "nosuch"],
        ["bench", "nosuch"],
        ["up", "--port", "1", "--bootstrap-servers", "kafka:9092"],
        ["watch", "--timeout-s", "3"],
        ["demo", "no-such-file.jsonl"],
        ["nosuch"],
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_reached(arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_every_command_has_help():
    names = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    assert len(names) >= 10
    for name in names:
        result = run(name, "--help")
        assert result.exit_code == 0, name
        assert "Usage" in result.stdout


def test_help_needs_neither_kafka_nor_rich_nor_any_extra():
    heavy = ["confluent_kafka", "rich.console", "ops.local", *EXTRA_OF_MODULE]
    program = f"import sys, ops.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- doctor ------------------------------------------------------------------------------------------------------


def test_one_failed_check_does_not_keep_the_others_from_running(monkeypatch):
    def absent(settings):
        raise NotInstalled("gpu", "role render")

    def broken(settings):
        raise Transient("start it")

    monkeypatch.setattr("ops.doctor.checks", lambda: {"a": broken, "b": absent, "c": lambda settings: "fine"})
    assert list(examine(Settings())) == [
        Check("a", "fail", "start it"),
        Check("b", "absent", "not installed (needed for role render): pip install 'reelbus[gpu]'"),
        Check("c", "ok", "fine"),
    ]


# ---- demo --------------------------------------------------------------------------------------------------------


def state(name, *, reason=None, **progress):
    return JobState(
        job="demo/a", state=name, sequence=1, lane="standard", model="shapes", requested_at_ms=0, updated_at_ms=1,
        reason=reason, progress=Progress(**progress) if progress else None,
    )  # fmt: skip


def example(expect=None):
    request = one_shot("a red ball", duration_s=1.0, job_id="a", output=Output(width_px=256, height_px=128, fps=24))
    return request if expect is None else type(request)(**{**_fields(request), "metadata": {"expect": expect}})


def _fields(request):
    return {name: getattr(request, name) for name in request.__struct_fields__}


def test_a_job_that_should_be_completed_and_is_has_no_fault():
    assert ending_faults(example(), state("completed", chunks=2, rendered=2)) == ()


def test_a_job_that_failed_is_a_fault_with_its_reason():
    reason = Reason(code="render_failed", message="no device")
    assert ending_faults(example(), state("failed", reason=reason)) == (
        "should have been completed, is failed: no device",
    )


@pytest.mark.parametrize(("own", "twin", "faults"), [(2, 0, 0), (0, 2, 0), (1, 1, 0), (1, 0, 1), (0, 0, 1)])
def test_jobs_with_the_same_shots_render_every_chunk_once(own, twin, faults):
    states = [state("completed", chunks=2, rendered=2 - reused, reused=reused) for reused in (own, twin)]
    assert len(ending_faults(example("reused"), states[0], states[1:])) == faults


def test_a_refused_job_must_be_rejected_with_a_reason():
    refused = state("rejected", reason=Reason(code="prompt_refused", message="x"))
    assert ending_faults(example("rejected"), refused) == ()
    assert len(ending_faults(example("rejected"), state("rejected"))) == 1
    assert len(ending_faults(example("rejected"), state("completed", chunks=1, rendered=1))) == 1


def test_a_file_that_is_not_what_was_asked_for_is_told_in_what():
    assert differences(Footage(24, 256, 128, 24.0, ()), example()) == ()
    found = differences(Footage(23, 256, 126, 25.0, ()), example())
    assert found == (
        "frames: asked for 24, the file has 23",
        "size: asked for (256, 128), the file has (256, 126)",
        "frames per second: asked for 24.0, the file has 25.0",
    )


@pytest.mark.parametrize(
    ("frames", "pictures", "places"),
    [(0, 4, set()), (1, 4, {0}), (3, 4, {0, 1, 2}), (60, 4, {0, 20, 39, 59}), (60, 1, {0}), (4, 4, {0, 1, 2, 3})],
)
def test_pictures_are_spread_from_the_first_frame_to_the_last(frames, pictures, places):
    assert places_of(frames, pictures) == places


def test_the_demo_empties_only_a_directory_of_its_own(tmp_path):
    folder = tmp_path / "demo"
    with _own_directory(folder, wipe=True):
        (folder / "old").touch()
    with _own_directory(folder, wipe=False):
        assert (folder / "old").exists()
    with _own_directory(folder, wipe=True):
        assert not (folder / "old").exists()
    (folder / MARKER).unlink()
    with pytest.raises(Fatal, match="was not made by the demo"), _own_directory(folder, wipe=True):
        pass


def test_two_demos_do_not_share_a_directory(tmp_path):
    folder = tmp_path / "demo"
    again = pytest.raises(Fatal, match="another demo is running")
    with _own_directory(folder, wipe=True), again, _own_directory(folder, wipe=True):
        pass


# ---- contact sheet -----------------------------------------------------------------------------------------------


def test_the_contact_sheet_holds_every_picture_in_its_row():
    red, blue = Image.new("RGB", (64, 64), (255, 0, 0)), Image.new("RGB", (640, 320), (0, 0, 255))
    sheet = contact_sheet([Row("a", ("a red ball",), (red, red)), Row("b", ("blue",), (blue,))], columns=2)
    counts = {colour: count for count, colour in sheet.getcolors(1 << 20)}
    assert counts[(255, 0, 0)] == 2 * 64 * 64
    assert counts[(0, 0, 255)] == CELL_PX * CELL_PX // 2
    rows = sheet.height // 2
    assert (0, 0, 255) not in {c for _, c in sheet.crop((0, 0, sheet.width, rows)).getcolors(1 << 20)}


def test_many_rows_stand_in_two_blocks():
    few, many = ([Row(str(n), (), ()) for n in range(count)] for count in (8, 9))
    assert contact_sheet(many, 4).width == 2 * contact_sheet(few, 4).width
    assert contact_sheet(many, 4).height < contact_sheet(few, 4).height


def test_text_is_wrapped_between_words():
    font = ImageFont.load_default(size=14)
    lines = wrapped(["one two three four five six", "x" * 80], font, 100)
    assert " ".join(lines[:-1]) == "one two three four five six"
    assert all(font.getlength(line) <= 100 for line in lines[:-1])
    assert lines[-1] == "x" * 80


def test_connection_prefers_itself():
    assert Connection(store="a").over(Connection(store="b", prefix="p")) == Connection(store="a", prefix="p")
