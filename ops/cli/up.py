"""`reelbus up`: the whole pipeline on one machine."""

from typing import Annotated

import typer

from ops.cli.connection import Place, connected

DEFAULT_PORT = 19092


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(connected(up))


def up(
    place: Place,
    workers: Annotated[int, typer.Option(min=0, help="Render workers.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the local Kafka; 0 takes any free one. [default: 19092]"),
    ] = None,
) -> None:
    """Run the whole pipeline on this machine until Ctrl-C.

    Starts Kafka (unless --bootstrap-servers names yours), applies the topics and runs every stage, starting it again
    when it ends. Data stays in .reelbus/ between runs.
    """
    from ops.cli.logs import quiet
    from ops.cli.output import screen
    from ops.cli.stack import interrupt_once, stack
    from ops.cli.watching import Follower, print_line
    from ops.view.stages import stages

    own_broker = place.own_broker
    if own_broker and port is not None:
        raise typer.BadParameter("--port is for the local Kafka, --bootstrap-servers for yours: give one of them")
    quiet()
    console = screen()

    def say(text: str) -> None:
        print_line(console, text)

    local_port = None if own_broker else DEFAULT_PORT if port is None else port
    interrupt_once()
    try:
        with stack(place.settings, local_port=local_port, workers=workers, say=say) as running:
            say(f"objects are kept in {running.settings.store}")
            if running.settings.development_key:
                say("files are signed with this machine's development key: see docs/how-to/sign-videos.md for your own")
            say(f"next, in another terminal: {submit_command(running.settings.bootstrap_servers, place)}")
            status = running.supervisor.status
            follower = Follower(running.settings, console=console, above=lambda: stages(status()))
            follower.follow(lambda: False)
    except KeyboardInterrupt:
        return


def submit_command(bootstrap_servers: str, place: Place) -> str:
    """What to type next, with the options that are needed to reach this pipeline."""
    options = [] if bootstrap_servers == f"127.0.0.1:{DEFAULT_PORT}" else [f"--bootstrap-servers {bootstrap_servers}"]
    if place.given.store is not None:
        options.append(f"--store {place.given.store}")
    if place.given.prefix is not None:
        options.append(f"--prefix {place.given.prefix}")
    options.extend(f"--kafka {text.partition('=')[0]}=..." for text in place.given.kafka or ())
    if place.given.kafka_config is not None:
        options.append(f"--kafka-config {place.given.kafka_config}")
    shared = "".join(f" {option}" for option in options)
    return f'reelbus submit{shared} --wait --prompt "a red ball moving left on a black background"'
