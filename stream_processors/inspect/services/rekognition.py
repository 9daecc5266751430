"""AWS Rekognition as a service, through boto3.

boto3 makes, signs and addresses the request and knows where credentials come from; the request itself goes our way
(post.py), because botocore's time-out starts anew with every byte that drips in. It takes an answer from whoever hears
its event before-send, which is how its own test tools stand in for the network.
"""

import io
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ops.net.retry_after import retry_after_ms
from schemas.errors import Fatal, PipelineError
from stream_processors.inspect.service_policies import RekognitionPolicy
from stream_processors.inspect.services import labels
from stream_processors.inspect.services.keys import read_aws_credentials
from stream_processors.inspect.services.outcome import Unanswered, check_status, check_type
from stream_processors.inspect.services.post import Answer, Poster, endpoint

MIN_CONFIDENCE = 1.0
"""Percent. Labels below are not asked for; whether the others block is for our thresholds to say."""
# AWS says with status 400 what others say with 429 and 403.
_STATUS = {
    "ThrottlingException": 429, "ProvisionedThroughputExceededException": 429, "LimitExceededException": 429,
    "AccessDeniedException": 403, "UnrecognizedClientException": 403, "InvalidSignatureException": 403,
    "ExpiredTokenException": 403, "MissingAuthenticationTokenException": 403, "IncompleteSignatureException": 403,
    "InvalidClientTokenId": 403,
}  # fmt: skip


class Rekognition:
    """A Service. Raises Fatal when boto3 is missing, or region, endpoint or credentials file cannot be used."""

    def __init__(self, policy: RekognitionPolicy, folder: Path) -> None:
        self.name = "rekognition DetectModerationLabels"
        self._labels = policy.labels
        self._poster = Poster()
        # What the request of this moment may take, and what came back: boto3 hands neither through.
        self._now = threading.local()
        self._client = _client(policy, folder)
        self._client.meta.events.register("before-send.rekognition", self._send)

    def scores(self, jpeg: bytes, timeout_s: float) -> Mapping[str, float]:
        """See Service."""
        answer = self._asked(jpeg, timeout_s)
        check_type(answer.headers, labels.CONTENT_TYPE)
        # The bytes themselves are judged: botocore takes almost anything for an answer.
        return labels.parse(answer.body, self._labels)

    def _asked(self, jpeg: bytes, timeout_s: float) -> Answer:
        from botocore import exceptions as boto

        away = (boto.CredentialRetrievalError, boto.MetadataRetrievalError, boto.HTTPClientError, boto.ConnectionError)
        self._now.timeout_s, self._now.answer = timeout_s, None
        code = ""
        try:
            self._client.detect_moderation_labels(Image={"Bytes": jpeg}, MinConfidence=MIN_CONFIDENCE)
        except PipelineError:
            raise
        except boto.ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
        except away as exc:  # whoever gives out credentials: the request itself goes our way
            raise Unanswered(f"no credentials: {type(exc).__name__}") from None
        except boto.BotoCoreError as exc:
            raise Fatal(_setup_fault(exc)) from None
        except Exception as exc:  # what its parsers raise over nonsense is of no common kind
            raise Unanswered(f"the answer is not what the service should say: {type(exc).__name__}") from None
        answer: Answer | None = self._now.answer
        if answer is None:
            raise Unanswered("boto3 made no request")
        asked_ms = retry_after_ms(answer.headers.get("retry-after", ""), time.time_ns() // 1_000_000)
        check_status(_STATUS.get(code, answer.status), code, asked_ms / 1000)
        return answer

    def _send(self, request: Any, **_: Any) -> Any:
        """Makes boto3's request in its place."""
        from botocore.awsrequest import AWSResponse

        headers = {name: _text(value) for name, value in request.headers.items()}
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        target = endpoint(request.url, "rekognition")
        answer = self._now.answer = self._poster.post(target, headers, body, self._now.timeout_s)
        return AWSResponse(request.url, answer.status, dict(answer.headers), _Raw(answer.body))


class _Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        while part := self.read(65536):
            yield part


def _setup_fault(error: Exception) -> str:
    # Not what it says: that may be a page of whoever gives out credentials, or what a credential process wrote.
    return f"{type(error).__name__}; check region, endpoint and key_file, or AWS's own chain of settings"


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _client(policy: RekognitionPolicy, folder: Path) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as exc:
        raise Fatal(f"provider rekognition needs the extra reelbus[moderation-services]: {exc}") from None
    if policy.endpoint:
        endpoint(policy.endpoint, "rekognition")
    given = read_aws_credentials(folder / policy.key_file, "rekognition") if policy.key_file else {}
    try:
        session = boto3.session.Session(region_name=policy.region or None, **given)
        # One try: asking.py tries again, by the policy's rules. No gzip: a signed body of pictures gains nothing.
        config = Config(retries={"mode": "standard", "total_max_attempts": 1}, disable_request_compression=True)
        return session.client("rekognition", endpoint_url=policy.endpoint or None, config=config)
    except (BotoCoreError, ValueError) as exc:
        raise Fatal(f"provider rekognition: {_setup_fault(exc)}") from None
