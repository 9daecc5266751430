"""The options that say where broker and store are: accepted before the command and after it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.settings import Settings, SettingsError, load, read_properties

PANEL = "Connection"


@dataclass(frozen=True, slots=True)
class Connection:
    """What the command line gave; None or empty where it gave nothing."""

    bootstrap_servers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT[,...]", help="Kafka brokers.", rich_help_panel=PANEL, show_default=False),
    ] = None
    store: Annotated[
        str | None,
        typer.Option(metavar="DIR|s3://...", help="Object store.", rich_help_panel=PANEL, show_default=False),
    ] = None
    prefix: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="First part of topic and group names.", rich_help_panel=PANEL),
    ] = None
    kafka: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="librdkafka property; may be repeated.", rich_help_panel=PANEL),
    ] = None
    kafka_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="librdkafka properties, key=value lines.", rich_help_panel=PANEL),
    ] = None

    def over(self, other: "Connection") -> "Connection":
        """These options, and those of `other` where this has none."""
        return Connection(**{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)})

    def settings(self) -> Settings:
        """The environment's settings with these options on top."""
        found = load()
        properties = dict(found.kafka)
        if self.kafka_config is not None:
            properties.update(read_properties(self.kafka_config))
        for text in self.kafka or ():
            key, given, value = text.partition("=")
            if not given or not key:
                raise SettingsError(f"--kafka {text!r}: expected KEY=VALUE, e.g. security.protocol=SASL_SSL")
            properties[key] = value
        return found.replace(
            bootstrap_servers=self.bootstrap_servers, store=self.store, prefix=self.prefix, kafka=properties
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works: all settings, and which of the options were given on the command line."""

    settings: Settings
    given: Connection

    @property
    def own_broker(self) -> bool:
        """Whether the user names a broker, by option or environment, so that none is to be started here."""
        named = self.given.bootstrap_servers is not None
        return named or self.settings.bootstrap_servers != Settings().bootstrap_servers


def taking_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the connection options to a command, which gets the context and a Connection before its own parameters."""
    signature = inspect.signature(command, eval_str=True)
    own = list(signature.parameters.values())[2:]
    names = [f.name for f in fields(Connection)]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(p.replace(kind=keyword) for p in own),
        *(inspect.Parameter(f.name, keyword, default=None, annotation=f.type) for f in fields(Connection)),
    ]

    @wraps(command)
    def run(**values: Any) -> None:
        context = values.pop("context")
        connection = Connection(**{name: values.pop(name) for name in names})
        command(context, connection, **values)

    # typer reads the signature and the annotations; __wrapped__ would lead it back to the original's.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    del run.__wrapped__
    return run


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Add the connection options to a command, which gets a Place before its own parameters."""

    @wraps(command)
    def run(context: typer.Context, connection: Connection, **values: Any) -> None:
        from ops import schema_registry

        given = connection.over(context.obj or Connection())
        place = Place(given.settings(), given)
        schema_registry.install(place.settings)
        command(place, **values)

    signature = inspect.signature(command, eval_str=True)
    head = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("context", "connection")]
    own = list(signature.parameters.values())[1:]
    run.__signature__ = signature.replace(parameters=[*head, *own])  # type: ignore[attr-defined]
    return taking_options(run)
