"""One settings object, made once by the command line and handed down. Only `load` looks at the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from schemas.errors import Fatal

PREFIX = "REELBUS_"
PACKAGE_ROOT = Path(__file__).resolve().parent.parent


class SettingsError(Fatal):
    """A setting is unknown or has a value that cannot be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every field can be set as REELBUS_<FIELD>; the command line wins over the environment."""

    bootstrap_servers: str = "127.0.0.1:19092"
    """Kafka brokers, host:port[,host:port]."""
    kafka: Mapping[str, str] = field(default_factory=dict)
    """librdkafka properties by their own names (security.protocol, sasl.username ...). REELBUS_KAFKA names a file of
    key=value lines, so that secrets stay out of the environment and of process lists."""
    prefix: str = "reelbus"
    """First part of every topic, group and transactional id: two installations can share one cluster."""
    store: str = ".reelbus/store"
    """Object store: a directory, or s3://bucket[/prefix]."""
    s3_endpoint_url: str = ""
    """Endpoint of an S3-compatible server; empty for AWS."""
    video_retention_days: int = 0
    """How long published videos are promised to stay; results carry the moment. 0: until somebody deletes them."""
    job_timeout_h: float = 72.0
    """Hours after which a job that nothing is heard of any more ends as expired, with reason no_progress; waiting in
    line is progress. 0: never."""
    chunk_retention_h: int = 48
    """Hours after which `reelbus gc` deletes a chunk that no live job names."""
    input_retention_h: int = 24
    """Hours after which `reelbus gc` deletes what was made of a caller's file, unless a live job names it."""
    gc_every_s: int = 3600
    """Seconds between two collections of `reelbus up`; 0: none."""
    data_dir: str = ".reelbus"
    """Where the local broker and logs live."""
    registry: str = str(PACKAGE_ROOT / "gpu_consumers" / "models" / "registry.toml")
    """Model registry (TOML)."""
    policy: str = str(PACKAGE_ROOT / "stream_processors" / "moderate" / "policy.toml")
    """Prompt policy: terms by category (TOML)."""
    frame_policy: str = str(PACKAGE_ROOT / "stream_processors" / "inspect" / "policy.toml")
    """Frame policy: moderation providers, thresholds, samples (TOML)."""
    limits: str = str(PACKAGE_ROOT / "stream_processors" / "prioritise" / "lanes.toml")
    """Lane, weight and size policy (TOML)."""
    pool: str = "cpu"
    """Pool that a render worker of this process serves."""
    device: str = "cpu"
    """torch device of a render worker: cpu, cuda, cuda:0 ..."""
    dtype: str = "float32"
    """torch dtype of a render worker: float32, bfloat16, float16."""
    device_cpus: str = ""
    """CPU cores of a render worker's device process, e.g. 1 or 0-3 or 0,2; empty: any."""
    worker_id: str = ""
    """Name of this process among its stage. Empty: render makes one from host and pid; track, whose name is the slot of
    its transactions, takes "0", so a second track process needs a name of its own or the two fence each other."""
    torch_threads: int = 1
    """Threads of a CPU render worker. More than one fights with the other stages for the cores."""
    step_timeout_s: float = 120.0
    """A denoise step that takes longer is taken for a hang: the device process is killed and started anew."""
    watchdog_s: float = 60.0
    """A stage that has work and does not get on for this long writes its stacks to the log and ends, to be started
    again. 0: never. A store or provider may be silent for 40 s before that counts as an error: below that it would be
    taken for a hang."""
    drain_s: float = 70.0
    """After SIGTERM: how long the record at work may take to be finished and committed. The longest chunk and 10 s."""
    health_address: str = ""
    """host:port of GET /livez and /readyz of `reelbus run`; without host: loopback. Empty: off. The processes of
    `reelbus up` count ports up from this one."""
    dead_letter_max_share: float = 0.05
    """A stage that makes dead letters of more than this share of its last records (at least 100) stops. 0: never."""
    dead_letter_max_run: int = 20
    """A stage that makes this many dead letters in a row stops. 0: never."""
    tenants: str = ""
    """Tenants file (TOML): who may send, and with which keys they sign. Empty: open mode, a tenant's name is
    taken as it stands in the payload."""
    schema_registry: str = ""
    """URL of a schema registry that speaks Confluent's API, e.g. https://registry:8081 or
    http://apicurio:8080/apis/ccompat/v7. Empty: the file registry that is part of reelbus."""
    schema_registry_auth_file: str = ""
    """File with key=value lines for it: username and password, or token; ca_file, cert_file, key_file."""
    signing: str = "auto"
    """Content credentials (C2PA) of published files. auto: signed by signing_command, or else with signing_key_file, or
    else with a development key that is made under data_dir. off: not signed."""
    signing_key_file: str = ""
    """File with the private key that signs published files: PEM, not encrypted. A secret: mode 0600."""
    signing_certificates_file: str = ""
    """PEM file with the certificate of that key, then those that vouch for it."""
    signing_command: str = ""
    """Command that signs instead, so that the key stays in a key service or security module: c2patool's protocol."""
    signing_tsa_url: str = ""
    """Time-stamp authority (RFC 3161) that says when a file was signed. Empty: none is asked."""
    signing_prompts: bool = False
    """Write the prompts into the content credentials, for everybody to read."""
    mark_key_file: str = ""
    """File with master keys of the invisible mark, hexadecimal, one a line: each tenant's videos are then marked with a
    pattern of its own. The first marks, all are read by. A secret: mode 0600. Empty: the public pattern."""
    input_buckets: str = ""
    """S3 buckets that callers' files are taken from: bucket[/prefix], separated by commas; {tenant} in a prefix stands
    for the tenant's name. Empty: https addresses only."""
    input_allow_private: bool = False
    """Allow callers' files on https hosts in private and loopback networks (tests, closed networks)."""
    label_profile: str = "eu"
    """Visible mark of jobs that do not say: eu or cn."""
    label_font: str = ""
    """TrueType or OpenType file for visible marks in other letters than Latin ones. Empty: Latin and the words of the
    Chinese rule only."""
    label_logos: str = ""
    """Folder with logos that mux draws beside the words of visible marks: TENANT.png, and default.png for tenants
    without one. Read at start. Empty: none."""
    webhook_secret_file: str = ""
    """File with the whsec_... secret that signs webhooks; without it webhooks are refused at the request."""
    webhook_allow_private: bool = False
    """Allow webhooks to private and loopback addresses (tests, closed networks)."""

    @property
    def development_key(self) -> bool:
        """Published files are signed with a key of this machine's own: no other one is given."""
        given = self.signing_key_file or self.signing_certificates_file or self.signing_command
        return self.signing == "auto" and not given

    @property
    def development_root(self) -> Path:
        """Certificate that vouches for this machine's development key, if it has one."""
        return Path(self.data_dir) / "signing" / "root.pem"

    def replace(self, **changes: object) -> "Settings":
        """A copy with changes, from the command line; None means not given."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given.update({k: v for k, v in changes.items() if v is not None})
        return Settings(**given)

    def environment(self) -> dict[str, str]:
        """These settings as environment of a child process, except librdkafka properties (see `kafka`)."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "kafka"}
        return {PREFIX + name.upper(): str(value) for name, value in plain.items()}


def read_properties(path: Path) -> dict[str, str]:
    """key=value lines, # comments. Raises SettingsError that names the line."""
    properties: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError as exc:
        raise SettingsError(f"cannot read Kafka properties file {path}: {exc.strerror}") from None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, found, value = text.partition("=")
        if not found:
            raise SettingsError(f"{path}:{number}: expected key=value")
        properties[key.strip()] = value.strip()
    return properties


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of health_address; without host loopback, IPv6 in brackets, port 0 for any free one.

    Raises SettingsError.
    """
    host, found, digits = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    numeric = digits.isascii() and digits.isdigit() and int(digits) <= 65535
    if not found or not numeric or (":" in host and not bracketed) or any(c.isspace() or c == "/" for c in host):
        raise SettingsError(
            f"{PREFIX}HEALTH_ADDRESS={text!r}: expected host:port, e.g. 127.0.0.1:8080, or 0.0.0.0:8080 for all"
        )
    return host or "127.0.0.1", int(digits)


def _parse(name: str, text: str) -> object:
    kind = type(getattr(Settings(), name))
    if name == "label_profile" and text not in ("eu", "cn"):
        raise SettingsError(f"{PREFIX}LABEL_PROFILE={text!r}: expected eu or cn")
    if name == "health_address" and text:
        parse_address(text)
    if name == "signing" and text not in ("auto", "off"):
        raise SettingsError(f"{PREFIX}SIGNING={text!r}: expected auto or off")
    if name == "kafka":
        return read_properties(Path(text))
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise SettingsError(f"{PREFIX}{name.upper()}={text!r}: expected true or false")
        return text.lower() in ("true", "1")
    try:
        if kind is float and not 0 <= float(text) < float("inf"):
            raise ValueError
        return kind(text)
    except ValueError:
        expected = "a number, 0 or more" if kind is float else kind.__name__
        raise SettingsError(f"{PREFIX}{name.upper()}={text!r}: expected {expected}") from None


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from REELBUS_* variables. An unknown one is an error that names it: a typing mistake is not ignored."""
    known = {PREFIX + f.name.upper(): f.name for f in fields(Settings)}
    given = {key: value for key, value in environ.items() if key.startswith(PREFIX)}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return Settings().replace(**{known[key]: _parse(known[key], value) for key, value in given.items()})
