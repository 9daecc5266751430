"""OpenAI and Azure as services: one POST a picture."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.net.retry_after import retry_after_ms
from stream_processors.inspect.service_policies import AzurePolicy, OpenAiPolicy
from stream_processors.inspect.services import azure, openai
from stream_processors.inspect.services.keys import read_key
from stream_processors.inspect.services.outcome import check_status, check_type, code_in
from stream_processors.inspect.services.post import Poster, endpoint


class OverHttp:
    """A Service. request: makes the body that asks about a JPEG. parse: gives the scores in an answer's body."""

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        request: Callable[[bytes], bytes],
        parse: Callable[[bytes], Mapping[str, float]],
    ) -> None:
        self.name = name
        self._target = endpoint(url, name)
        self._headers, self._request, self._parse = headers, request, parse
        self._poster = Poster()

    def scores(self, jpeg: bytes, timeout_s: float) -> Mapping[str, float]:
        """See Service."""
        answer = self._poster.post(self._target, self._headers, self._request(jpeg), timeout_s)
        asked_ms = retry_after_ms(answer.headers.get("retry-after", ""), time.time_ns() // 1_000_000)
        check_status(answer.status, code_in(answer.body), asked_ms / 1000)
        check_type(answer.headers, "application/json")
        return self._parse(answer.body)


def open_ai(policy: OpenAiPolicy, folder: Path) -> OverHttp:
    """The service of a policy whose file lies in `folder`. Raises Fatal for a key or endpoint that cannot be used."""
    key = read_key(folder / policy.key_file, "openai")
    return OverHttp(
        f"openai {policy.model}",
        policy.endpoint,
        openai.headers(key),
        lambda jpeg: openai.request(policy.model, jpeg),
        openai.parse,
    )


def azure_safety(policy: AzurePolicy, folder: Path) -> OverHttp:
    """The same for Azure."""
    key = read_key(folder / policy.key_file, "azure")
    url = azure.url(policy.endpoint, policy.api_version)
    return OverHttp(f"azure {policy.api_version}", url, azure.headers(key), azure.request, azure.parse)
