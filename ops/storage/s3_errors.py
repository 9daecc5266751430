"""What botocore's errors mean in our taxonomy."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as boto

from schemas.errors import Fatal, PipelineError, Transient

MISSING = {"404", "NoSuchKey", "NotFound"}
TAKEN = {"412", "PreconditionFailed"}
RACED = {"409", "ConditionalRequestConflict", "OperationAborted"}
"""Another conditional write of the key is under way: the outcome is open, ask again."""

_ADVICE = {
    "NoSuchBucket": "create the bucket, or correct the setting `store`",
    "AccessDenied": "grant s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket",
    "403": "check the credentials, and grant s3:GetObject and s3:ListBucket (without it a missing object gives 403)",
    "InvalidAccessKeyId": "check the credentials (AWS_ACCESS_KEY_ID, or the profile)",
    "SignatureDoesNotMatch": "check the credentials (AWS_SECRET_ACCESS_KEY) and the region",
    "ExpiredToken": "renew the session's credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "the bucket lives in another region: set AWS_DEFAULT_REGION",
    "301": "the bucket lives in another region: set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket lives in another region: set AWS_DEFAULT_REGION",
    "NotImplemented": "this server lacks conditional writes; use another one",
}
_TRANSIENT = {
    "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException", "SlowDown", "TooManyRequests",
    "RequestLimitExceeded", "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "NoSuchUpload",
    "IncompleteBody",
}  # fmt: skip


def code_of(error: boto.ClientError) -> str:
    """The service's error code. A HEAD has no body, so botocore gives the HTTP status instead, e.g. "404"."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: boto.BotoCoreError | boto.ClientError, doing: str) -> PipelineError:
    """The error of our taxonomy to raise: Transient where a later try may succeed, Fatal with what to do elsewhere."""
    if isinstance(error, boto.ClientError):
        code, meta = code_of(error), error.response.get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        said = error.response.get("Error", {}).get("Message", "")
        text = f"{doing}: the object store answers {status} {code}: {said}"
        if code in _TRANSIENT or code in RACED or status == 429 or (status >= 500 and code not in _ADVICE):
            return Transient(text)
        return Fatal(f"{text}; {_ADVICE.get(code, 'see the service documentation for this code')}")
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return Fatal(f"{doing}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    if isinstance(error, boto.SSLError):
        return Transient(f"{doing}: {error}; if this stays, check the certificate and AWS_CA_BUNDLE")
    within_reach_later = (
        boto.HTTPClientError,
        boto.ConnectionError,
        boto.IncompleteReadError,
        boto.CredentialRetrievalError,
        boto.MetadataRetrievalError,
    )
    if isinstance(error, within_reach_later):
        return Transient(f"{doing}: {error}")
    return Fatal(f"{doing}: {error}")


@contextmanager
def s3_errors(doing: str) -> Iterator[None]:
    """Turns botocore's errors into ours."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError) as exc:
        raise explain(exc, doing) from exc
