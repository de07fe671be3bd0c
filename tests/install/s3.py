"""A small S3-compatible server: objects in memory, listing, and signatures (AWS Signature Version 4).

Only what backups need: ``GET``, ``PUT``, ``HEAD`` and ``DELETE`` of objects, and ``ListObjectsV2``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

ACCESS_KEY, SECRET_KEY, REGION = "AKIDTEST", "the secret of tests", "eu-test-1"
_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


class S3Server:
    """One bucket.

    :param bucket: its name.
    """

    def __init__(self, bucket: str = "bucket") -> None:
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.failures = 0
        """So many requests are answered with 503."""
        self.requests: list[str] = []
        self.url = ""

    @property
    def environment(self) -> dict[str, str]:
        """For a client."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "NO_PROXY": "127.0.0.1",
        }

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[S3Server]:
        """Serve on a free port of the loopback address."""
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{bucket}", self._answer)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        body = await request.read()
        if self.failures:
            self.failures -= 1
            return _error(503, "SlowDown", "try again")
        if not _signed(request, body):
            return _error(403, "SignatureDoesNotMatch", "the signature is wrong")
        if request.match_info["bucket"] != self.bucket:
            return _error(404, "NoSuchBucket", "the bucket does not exist")
        key = request.match_info.get("key", "")
        if not key:
            return self._listed(request)
        match request.method:
            case "PUT":
                self.objects[key] = body
                return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})  # noqa: S324
            case "GET" | "HEAD" if key in self.objects:
                headers = {"ETag": '"x"', "Last-Modified": "Mon, 30 Nov 2026 12:00:00 GMT"}
                return web.Response(body=self.objects[key], headers=headers)
            case "DELETE":
                self.objects.pop(key, None)
                return web.Response(status=204)
        return _error(404, "NoSuchKey", "the key does not exist")

    def _listed(self, request: web.Request) -> web.Response:
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        contents, prefixes = [], set()
        for key, data in sorted(self.objects.items()):
            if not key.startswith(prefix):
                continue
            rest = key.removeprefix(prefix)
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                contents.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>x</ETag>"
                    "<LastModified>2026-11-30T12:00:00.000Z</LastModified></Contents>"
                )
        common = [
            f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(prefixes)
        ]
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated>'
            f"{''.join(contents)}{''.join(common)}</ListBucketResult>"
        )
        return web.Response(text=text, content_type="application/xml")


def _error(status: int, code: str, message: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


def _signed(request: web.Request, body: bytes) -> bool:
    """Whether the signature is that of `SECRET_KEY`, and the body what was signed."""
    found = _CREDENTIAL.fullmatch(request.headers.get("Authorization", ""))
    if found is None or found[1] != ACCESS_KEY:
        return False
    _, date, region, names, signature = found.groups()
    payload = request.headers["x-amz-content-sha256"]
    if payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        return False
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(request.query.items())
    )
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names.split(";"))
    canonical = "\n".join(
        [request.method, request.raw_path.partition("?")[0], query, headers, names, payload]
    )
    scope = f"{date}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature)
