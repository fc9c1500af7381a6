"""What the service answers: one photo, and everything that is none."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from photo_files import bomb_of_scans, encoded, huge_png, png
from PIL import Image
from serving_process import BATCH, BOUNDARY, CLASSIFY, Answered, Serving, multipart

from blurtrain.serving import Detector

FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def refused(answered: Answered, status: int, words: str) -> None:
    """One error, in JSON, in one line."""
    assert (answered.status, answered.headers["content-type"]) == (status, "application/json")
    assert list(answered.json) == ["error"] and words in answered.json["error"]
    assert "\n" not in answered.json["error"] and "Traceback" not in answered.json["error"]


def test_one_photo(serving: Serving, detector: Detector, photos: list[bytes]) -> None:
    for content in photos[:5]:
        found = serving.post(CLASSIFY, [("a.jpg", content)])
        assert found.status == 200
        expected = asdict(detector.classify(content))
        assert found.json["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        for name in detector.selectable:
            found = serving.post(f"{CLASSIFY}?blur_type={name}", [("a.jpg", content)])
            assert found.status == 200 and set(found.json) == {"detected", "confidence", "blur_type_probability"}
            assert found.json == pytest.approx(asdict(detector.classify(content, name)), abs=1e-6)


@pytest.mark.parametrize("path", [CLASSIFY, BATCH])
def test_sharp_and_unknown_types_are_refused_by_the_names_of_the_others(serving: Serving, path: str) -> None:
    for name, why in (("sharp", "is no blur"), ("nonsense", "is not known"), ("", "is not known")):
        found = serving.post(f"{path}?blur_type={name}", [("a.jpg", b"x")])
        refused(found, 422, f"{why}: ask for one of defocused_blurred, defocused_object_portrait, motion_blurred")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "the file is empty"),
        (b"hello", 415, "no photo, by its content"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", 415, "no photo, by its content"),
        (encoded(Image.new("RGB", (300, 200)))[:400], 422, "runcated"),
        (huge_png(30_000), 422, "30000 x 30000 are 900 megapixels, more than 1"),
        (encoded(Image.new("RGB", (1001, 1000)), "PNG"), 422, "1001 x 1000 are 1 megapixels, more than 1"),
        (png(10_001, 99), 422, "10001 x 99: one side is more than 100 times as long as the other"),
        (bomb_of_scans(), 422, "more than 200 scans"),
        (bytes(200_001), 413, "larger than 0.2 MB"),
        (bytes(3_000_000), 413, "larger than"),
    ],
)
def test_bad_files(serving: Serving, content: bytes, status: int, words: str) -> None:
    refused(serving.post(CLASSIFY, [("a.jpg", content)]), status, words)


def test_a_hundred_megabytes_are_refused_whether_their_length_is_said_or_not(serving: Serving) -> None:
    refused(serving.post(CLASSIFY, [("a.jpg", bytes(100_000_000))]), 413, "larger than")
    body = multipart([("a.jpg", bytes(10_000_000))])
    parts = [body[start : start + 1_000_000] for start in range(0, len(body), 1_000_000)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    answered = serving.ask("POST", CLASSIFY, chunked + b"0\r\n\r\n", {**FORM, "Transfer-Encoding": "chunked"})
    refused(answered, 413, "larger than")


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", {}, 415, "multipart/form-data"),
        (b"{}", {"Content-Type": "application/json"}, 415, "multipart/form-data"),
        (b"url=http://127.0.0.1/", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "multipart/form-data"),
        (b"", {"Content-Type": "multipart/form-data"}, 415, "multipart/form-data"),
        (b"nonsense", FORM, 400, "no valid multipart"),
        (multipart([("a.jpg", b"abc")])[:-20], FORM, 400, "ends before its last boundary"),
        (multipart([]), FORM, 422, "no file among the fields"),
        (multipart([("a.jpg", b"abc")]).replace(b'; filename="a.jpg"', b""), FORM, 422, "no file among the fields"),
        (multipart([("a.jpg", b"a"), ("b.jpg", b"b")]), FORM, 422, "more than one file"),
        (multipart([("a.jpg", b"a")]).replace(b"octet", b"o" * 20_000), FORM, 400, "header size"),
    ],
)
def test_bad_requests(serving: Serving, body: bytes, headers: dict[str, str], status: int, words: str) -> None:
    refused(serving.ask("POST", CLASSIFY, body, headers), status, words)


def test_other_paths_and_methods(serving: Serving) -> None:
    refused(serving.ask("GET", "/nothing"), 404, "Not Found")
    refused(serving.ask("GET", CLASSIFY), 405, "Method Not Allowed")
    refused(serving.ask("POST", f"{CLASSIFY}/"), 404, "Not Found")
    refused(serving.ask("GET", "/health/"), 404, "Not Found")
    refused(serving.ask("GET", f"{BATCH}/..%2f..%2fetc"), 404, "")
    refused(serving.ask("GET", f"{BATCH}/01234"), 404, "there is no such job")
    refused(serving.ask("GET", f"{BATCH}/01234?first=-1"), 422, "first")
    refused(serving.ask("GET", f"{BATCH}/01234?count=many"), 422, "count")


def test_pages_of_other_sites_cannot_send_photos(serving: Serving, photos: list[bytes]) -> None:
    refused(serving.post(CLASSIFY, [("a.jpg", photos[0])], **{"Sec-Fetch-Site": "cross-site"}), 403, "another site")
    assert serving.post(CLASSIFY, [("a.jpg", photos[0])], **{"Sec-Fetch-Site": "same-origin"}).status == 200


def test_fifty_clients_at_once(serving: Serving, detector: Detector, photos: list[bytes]) -> None:
    expected = [asdict(detector.classify(content, "motion_blurred")) for content in photos]

    def client(number: int) -> list[bool]:
        results = []
        for k in range(4):
            which = (number + k) % len(photos)
            found = serving.post(f"{CLASSIFY}?blur_type=motion_blurred", [("a.jpg", photos[which])])
            results.append(found.status == 200 and found.json == pytest.approx(expected[which], abs=1e-6))
        return results

    with ThreadPoolExecutor(50) as many:
        results = [one for found in many.map(client, range(50)) for one in found]
    assert len(results) == 200 and all(results)


def test_health_and_metrics(serving: Serving, photos: list[bytes]) -> None:
    health = serving.ask("GET", "/health").json
    assert health["status"] == "ok" and health["token"] is False and "sharp" not in health["blur_types"]
    before = serving.metric(f'blur_requests_total{{method="POST",path="{CLASSIFY}",status="200"}}')
    assert serving.post(CLASSIFY, [("a.jpg", photos[0])]).status == 200
    assert serving.metric(f'blur_requests_total{{method="POST",path="{CLASSIFY}",status="200"}}') == before + 1
    assert serving.metric("blur_workers") >= 1 and serving.metric("blur_upload_bytes") == 0
    counts = serving.metric(f'blur_request_seconds_count{{path="{CLASSIFY}"}}')
    assert serving.metric(f'blur_request_seconds_bucket{{path="{CLASSIFY}",le="+Inf"}}') == counts > before


def test_methods_that_a_client_thinks_of_are_counted_as_one(serving: Serving) -> None:
    name = 'blur_requests_total{method="other",path="/health",status="405"}'
    before = serving.metric(name)
    for k in range(5):
        refused(serving.ask(f"METHOD{k}", "/health"), 405, "Method Not Allowed")
    assert serving.metric(name) == before + 5
    assert b"METHOD" not in serving.ask("GET", "/metrics").body


def test_without_a_model_it_starts_and_says_so(tmp_path: Path, photos: list[bytes]) -> None:
    with Serving(None, tmp_path / "jobs") as one:
        for path in (CLASSIFY, BATCH):
            refused(one.post(path, [("a.jpg", photos[0])]), 503, "there is no model")
        assert one.ask("GET", "/health").json["status"] == "no model"
        assert one.metric("blur_model_loaded") == 0


def test_with_a_token_only_who_has_it_is_answered(model: Path, tmp_path: Path, photos: list[bytes]) -> None:
    with Serving(model, tmp_path / "jobs", token="a-token-of-a-test") as one:
        for path in (CLASSIFY, BATCH):
            for given in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Basic a-token-of-a-test"}):
                answered = one.post(path, [("a.jpg", photos[0])], **given)
                refused(answered, 401, "send the token")
                assert answered.headers["www-authenticate"] == "Bearer"
        refused(one.ask("GET", "/metrics"), 401, "send the token")
        refused(one.ask("GET", f"{BATCH}/123"), 401, "send the token")
        right = {"Authorization": "Bearer a-token-of-a-test"}
        assert one.post(CLASSIFY, [("a.jpg", photos[0])], **right).status == 200
        assert one.ask("GET", "/health").json["token"] is True and one.ask("GET", "/").status == 200


def test_the_documentation_names_every_operation_and_needs_nothing_from_elsewhere(serving: Serving) -> None:
    page = serving.ask("GET", "/docs").body.decode()
    for path in serving.ask("GET", "/openapi.json").json["paths"]:
        assert path in page
    assert "http" not in page and "<script" not in page and "blur_type_probability" in page


def test_no_page_makes_a_browser_ask_for_an_icon(serving: Serving) -> None:
    for path in ("/", "/docs"):
        assert 'rel="icon" href="data:,"' in serving.ask("GET", path).body.decode(), path
