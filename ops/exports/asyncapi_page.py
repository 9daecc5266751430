"""The AsyncAPI document as one page for people: no script, nothing fetched, light and dark. Pure.

Every text of the document is escaped; the page's own markup is in `asyncapi_page_parts`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.exports import asyncapi_page_parts as parts
from ops.exports.asyncapi_page_parts import code, escape, marked, paragraph, table

GROUPS = (
    ("send", "Topics that you write"),
    ("receive", "Topics that you read"),
    ("internal", "Topics between the stages"),
    ("dead-letters", "Dead letters"),
)
Document = Mapping[str, Any]


def page(document: Document) -> str:
    """The whole page as HTML. `document`: plain data as `ops.asyncapi.document` makes it."""
    groups = {tag: _tagged(document, tag) for tag, _ in GROUPS}
    return parts.page(document["info"]["title"], _contents(document, groups), "".join(_body(document, groups)))


def _tagged(document: Document, tag: str) -> dict[str, Any]:
    channels = document["channels"].items()
    return {name: channel for name, channel in channels if tag in [given["name"] for given in channel["tags"]]}


def _records(document: Document) -> dict[str, Any]:
    """Record name -> Avro schema of every record that a topic carries."""
    found = document["components"]["schemas"].items()
    return {name.removesuffix(".avro"): each["schema"] for name, each in found if name.endswith(".avro")}


def _contents(document: Document, groups: Mapping[str, Mapping[str, Any]]) -> str:
    lists = [(title, [(_id(name), each["title"]) for name, each in groups[tag].items()]) for tag, title in GROUPS]
    lists.append(("Records", [(f"record-{name}", name) for name in _records(document)]))
    lists.append(("Headers", [(f"headers-{name}", name) for name in _headers(document)]))
    return parts.contents(lists)


def _id(channel: str) -> str:
    return f"topic-{channel}"


def _body(document: Document, groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    info = document["info"]
    yield f"<h1>{escape(info['title'])} <small>contract {escape(info['version'])}</small></h1>"
    yield "".join(paragraph(text) for text in info["description"].split("\n\n"))
    yield paragraph(f"Made from the AsyncAPI {document['asyncapi']} document asyncapi.json, which holds the same.")
    yield "<h2>Servers</h2>"
    servers = document["servers"].items()
    rows = [[code(n), code(s["host"]), code(s["protocol"]), marked(s["description"])] for n, s in servers]
    yield table(("name", "host", "protocol", ""), rows)
    for tag, title in GROUPS:
        yield f"<h2>{escape(title)}</h2>"
        yield paragraph(next(given["description"] for given in info["tags"] if given["name"] == tag))
        if tag == "dead-letters":
            yield _dead_letters(groups[tag])
        else:
            yield "".join(_channel(document, name, channel) for name, channel in groups[tag].items())
    yield "<h2>Records</h2>"
    yield "".join(_record(document, name, schema) for name, schema in _records(document).items())
    yield "<h2>Headers</h2>"
    yield "".join(_header_table(name, schema) for name, schema in _headers(document).items())


def _dead_letters(channels: Mapping[str, Any]) -> str:
    rows = [
        [f'<span id="{escape(_id(name))}">{code(each["address"])}</span>', _kept(each), escape(_names(each, "written"))]
        for name, each in channels.items()
    ]
    return table(("topic", "kept", "written by"), rows)


def _names(channel: Mapping[str, Any], verb: str) -> str:
    names = list(channel[f"x-{verb}-by"])
    tags = [given["name"] for given in channel["tags"]]
    return ", ".join(names + ["you"] * ({"written": "send", "read": "receive"}[verb] in tags)) or "–"


def _kept(channel: Mapping[str, Any]) -> str:
    config = channel["bindings"]["kafka"].get("topicConfiguration")
    if config is None:
        return "as its owner says"
    if "compact" in config["cleanup.policy"]:
        return "the last record of every key"
    hours = config["retention.ms"] // 3_600_000
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def _channel(document: Document, name: str, channel: Mapping[str, Any]) -> str:
    binding = channel["bindings"]["kafka"]
    facts = [
        (
            "topic",
            code(channel["address"]) if channel["address"] else "named by the request's <code>reply_topic</code>",
        ),
        ("key", marked(channel["x-key"])),
        ("note", marked(channel.get("description", ""))),
        ("partitions", escape(str(binding.get("partitions", "as its owner says")))),
        ("kept", escape(_kept(channel))),
        ("written by", escape(_names(channel, "written"))),
        ("read by", escape(_names(channel, "read"))),
        ("replies", _replies(document, name)),
        ("carries", "<br>".join(_message(each) for each in channel["messages"].values()) or "no records"),
    ]
    shown = [(word, text) for word, text in facts if text]
    return (
        f'<section id="{escape(_id(name))}"><h3>{escape(channel["title"])}</h3>{paragraph(channel["summary"])}'
        f"{parts.facts(shown)}{_examples(channel)}</section>"
    )


def _replies(document: Document, channel: str) -> str:
    for operation in document["operations"].values():
        if operation["channel"]["$ref"] == f"#/channels/{channel}" and "reply" in operation:
            target = operation["reply"]["channel"]["$ref"].removeprefix("#/channels/")
            return parts.link(_id(target), document["channels"][target]["title"])
    return ""


def _message(message: Mapping[str, Any]) -> str:
    if "$ref" in message:
        raise ValueError("messages of a topic are written out where they are; only dead letters share one")
    headers = message["headers"]["$ref"].rpartition("/")[2]
    record = parts.link(f"record-{message['name']}", message["name"])
    return f"{record} as {code(message['contentType'])}, headers {parts.link(f'headers-{headers}', headers)}"


def _examples(channel: Mapping[str, Any]) -> str:
    """Examples of a topic, once: they are the same in every format."""
    found = {
        (each["name"], message["name"]): each["payload"]
        for message in channel["messages"].values()
        for each in message.get("examples", ())
    }
    return "".join(parts.example(f"{record}: {name}", payload) for (name, record), payload in found.items())


def _record(document: Document, name: str, schema: Mapping[str, Any]) -> str:
    inside = list(parts.nested(schema))
    tables = "".join(
        (f"<h4>{escape(each['name'])}</h4>{paragraph(each['doc'])}" if each is not schema else "")
        + _fields(document["components"]["schemas"].get(each["name"], {}), each)
        for each in inside
    )
    used = [key for key, channel in document["channels"].items() if _carries(channel, name)]
    on = ", ".join(parts.link(_id(key), document["channels"][key]["title"]) for key in used)
    return (
        f'<section id="{escape(f"record-{name}")}"><h3>{escape(name)}</h3>{paragraph(schema["doc"])}<p>On {on}.</p>'
        f"{tables}</section>"
    )


def _carries(channel: Mapping[str, Any], record: str) -> bool:
    return any(message.get("name") == record for message in channel["messages"].values())


def _fields(plain: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Fields of one Avro record. plain: its JSON Schema, which knows what is not available yet; {} without one."""
    rows = []
    for field in schema["fields"]:
        more = plain.get("properties", {}).get(field["name"], {})
        meaning = marked(field["doc"])
        if "x-not-available-yet" in more:
            meaning = f"<strong>Not available yet.</strong> {meaning}"
        elif "x-available" in more:
            meaning = f"{meaning} Available: {', '.join(map(code, more['x-available']))}."
        rows.append(
            [code(field["name"]), parts.kind(field["type"]), parts.limits(field), parts.default(field), meaning]
        )
    return table(("field", "type", "limits", "if left out", "meaning"), rows)


def _headers(document: Document) -> dict[str, Any]:
    return {name: each for name, each in document["components"]["schemas"].items() if name.endswith("Headers")}


def _header_table(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        [code(header), "always" if header in required else "where known", marked(each["description"])]
        for header, each in schema["properties"].items()
    ]
    head = ("header", "there", "meaning")
    return (
        f'<section id="{escape(f"headers-{name}")}"><h3>{escape(name)}</h3>{paragraph(schema["description"])}'
        f"{table(head, rows)}</section>"
    )
