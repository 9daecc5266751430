"""The programs as data, and the commands that their own header comments give. Pure but for reading their sources."""

import re
from dataclasses import dataclass
from pathlib import Path

from ops.settings import PACKAGE_ROOT
from schemas.codec import Format

EXAMPLES = PACKAGE_ROOT / "docs" / "examples"
_COMMENT = re.compile(r"^(?:/\*|\*/| \*|//|#)")
_COMMAND = re.compile(r"^(?: \*|//|#)(?: {4,}|\t)(\S.*)$")
_PLACEHOLDER = re.compile(r"\[?<(\w+)>\]?")


@dataclass(frozen=True, slots=True)
class Program:
    """One program of docs/examples.

    name:     its folder; it names itself /examples/<name> as the source of its records
    source:   file whose header comment says how it is run, below the folder
    tools:    what must be on PATH, and the Debian package (or site) that brings it
    language: command that prints the language's version
    library:  command that prints the client library and its version, once the program was set up
    format:   of its request, and so of its replies
    """

    name: str
    source: str
    tools: dict[str, str]
    language: str
    library: str
    format: Format = "json"

    @property
    def folder(self) -> Path:
        return EXAMPLES / self.name

    @property
    def file(self) -> Path:
        return self.folder / self.source


_NODE = {"node": "nodejs 20.19 or newer", "npm": "npm"}


def _npm(*names: str) -> str:
    shown = " + ', ' + ".join(f"'{name} ' + require('./node_modules/{name}/package.json').version" for name in names)
    return f'node -p "{shown}"'


PROGRAMS = (
    Program(
        "java", "src/main/java/OneVideo.java", {"mvn": "maven", "javac": "a JDK 17 or newer"},
        language="java -version 2>&1 | sed -n '1s/.*\"\\(.*\\)\".*/Java \\1/p'",
        library="sed -n '/kafka-clients</{n;s:.*<version>\\(.*\\)</version>.*:kafka-clients \\1:p}' pom.xml",
    ),
    Program(
        "node", "main.mjs", _NODE,
        language="echo Node $(node --version | tr -d v)",
        library=_npm("@platformatic/kafka"),
    ),
    Program(
        "go", "main.go", {"go": "Go 1.26 or newer"},
        language="go env GOVERSION | sed 's/^go/Go /'",
        library="go list -m github.com/twmb/franz-go | sed 's/.*\\(franz-go\\) v/\\1 /'",
    ),
    Program(
        "kcat", "one_video.sh", {"bash": "bash", "kcat": "kcat", "jq": "jq", "sha256sum": "coreutils"},
        language="echo bash ${BASH_VERSION%%(*}",
        library="kcat -V | sed -n 's/^Version \\([^ ]*\\).*\\(librdkafka [^ ]*\\).*/kcat \\1, \\2/p'",
    ),
    Program(
        "node-avro", "main.mjs", _NODE,
        language="echo Node $(node --version | tr -d v)",
        library=_npm("@confluentinc/schemaregistry", "@platformatic/kafka"),
        format="avro",
    ),
)  # fmt: skip


def commands(text: str) -> list[str]:
    """The command lines of a source's header comment: what is indented by four spaces or a tab."""
    found = []
    for line in text.splitlines():
        if line.startswith("#!"):
            continue
        if not _COMMENT.match(line):
            break
        if command := _COMMAND.match(line):
            found.append(command[1])
    return found


def filled(command: str, values: dict[str, str]) -> str:
    """A command with a value for every <name> and [<name>]. Raises KeyError for a name without a value."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], command)


def arguments(command: str) -> list[str]:
    """Names of the placeholders of a command, in order."""
    return _PLACEHOLDER.findall(command)
