"""The routes of the service."""

import contextlib
import datetime
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

import blurtrain
from blurtrain.serving.detector import Detected, Probabilities
from blurtrain.serving.documentation import page_of
from blurtrain.serving.guard import Guard, answer
from blurtrain.serving.job_folder import Job
from blurtrain.serving.limits import Refused
from blurtrain.serving.metrics import TYPE
from blurtrain.serving.service import Service

CLASSIFY = "/api/v1/blur/classify"
BATCH = f"{CLASSIFY}/batch"
WEB = Path(__file__).parent / "web"
BlurType = Annotated[str | None, Query(description="the type of blur that is asked for; none: all probabilities")]


class Error(BaseModel):
    """Why there is no answer."""

    error: str


class Submitted(BaseModel):
    """A batch that is accepted: on the disk, and worked off whatever happens."""

    job_id: str
    photos: int
    url: str


class Progress(BaseModel):
    """A batch job, and one page of its answers, in the order of the photos."""

    job_id: str
    state: str = Field(description="waiting, running, done or failed")
    error: str | None = Field(description="why it has failed; it is tried again when the service is started again")
    blur_type: str | None
    created: datetime.datetime
    photos: int
    answered: int
    results: list[dict[str, Any]] = Field(description="of each photo: photo, name, model, and its answer or error")
    next: str | None = Field(description="of the next page; null: this is the last one that there is now")


class Health(BaseModel):
    """Whether photos can be classified, and by what."""

    status: str = Field(description="ok, no model, or: batches stopped")
    model: str | None
    origin: str | None
    classes: list[str]
    blur_types: list[str] = Field(description="that can be asked for")
    token: bool = Field(description="whether requests need one")


def _upload(field: str, many: bool) -> dict[str, Any]:
    one = {"type": "string", "format": "binary"}
    shape = {"type": "array", "items": one} if many else one
    schema = {"type": "object", "required": [field], "properties": {field: shape}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Error} for status in statuses}


def application(service: Service, token: str | None = None) -> Any:
    """The service as an ASGI application, which closes it when it is shut down."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="Blur types of photos", version=blurtrain.__version__, lifespan=lifespan, docs_url=None,
                  redoc_url=None, redirect_slashes=False)  # fmt: skip
    _add_errors(app)
    _add_classify(app, service)
    _add_batch(app, service)
    _add_state(app, service, token is not None)
    _add_pages(app)
    return Guard(app, service.metrics, token)


def _add_errors(app: FastAPI) -> None:
    """Every error is one line in JSON."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": f"a fault of this service ({type(error).__name__}); its log says more"}, 500)


def _add_classify(app: FastAPI, service: Service) -> None:
    @app.post(CLASSIFY, response_model=Detected | Probabilities, openapi_extra=_upload("file", many=False),
              responses=_errors(400, 401, 408, 413, 415, 422, 503))  # fmt: skip
    async def classify(request: Request, blur_type: BlurType = None) -> Response:
        """Whether one photo has one type of blur, or the probabilities of all classes."""
        return JSONResponse(asdict(await service.classify(request, blur_type)))


def _add_batch(app: FastAPI, service: Service) -> None:
    @app.post(BATCH, status_code=202, response_model=Submitted, openapi_extra=_upload("files", many=True),
              responses=_errors(400, 401, 408, 413, 415, 422, 503))  # fmt: skip
    async def submit(request: Request, blur_type: BlurType = None) -> Response:
        """Many photos, answered in the background."""
        job = await service.accept(request, blur_type)
        url = f"{BATCH}/{job.id}"
        return JSONResponse(Submitted(job_id=job.id, photos=job.total, url=url).model_dump(), 202, {"location": url})

    @app.get(BATCH + "/{job_id}", responses=_errors(401, 404, 422))
    def progress(job_id: str, first: Annotated[int, Query(ge=0, le=10**9)] = 0,
                 count: Annotated[int, Query(ge=0, le=1000)] = 100) -> Progress:  # fmt: skip
        """How far a batch job is, and `count` answers from number `first` on, as far as they are there."""
        return _progress(service, service.job(job_id), first, count)


def _progress(service: Service, job: Job, first: int, count: int) -> Progress:
    state, results = service.jobs.state(job), job.page(first, count)
    behind = first + len(results)
    more = results and behind < job.total
    return Progress(
        job_id=job.id, state=state, error=service.jobs.failure(job), blur_type=job.blur_type, photos=job.total,
        answered=job.answered, results=results,
        created=datetime.datetime.fromtimestamp(job.created, datetime.UTC),
        next=f"{BATCH}/{job.id}?first={behind}&count={count}" if more else None,
    )  # fmt: skip


def _add_state(app: FastAPI, service: Service, token: bool) -> None:
    @app.get("/health")
    async def health() -> Health:
        """Answers while the service does, with or without a model, or its thread for batches."""
        d = service.detector
        if d is None:
            return Health(status="no model", model=None, origin=None, classes=[], blur_types=[], token=token)
        status = "ok" if service.jobs.alive else "batches stopped"
        return Health(status=status, model=d.model, origin=d.origin, classes=list(d.classes),
                      blur_types=list(d.selectable), token=token)  # fmt: skip

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(service.gauges()), media_type=TYPE)


def _add_pages(app: FastAPI) -> None:
    def file(path: str, name: str, kind: str) -> None:
        content = (WEB / name).read_bytes()

        async def found() -> Response:
            return Response(content, media_type=kind)

        app.add_api_route(path, found, include_in_schema=False)

    file("/", "page.html", "text/html")
    file("/page.js", "page.js", "text/javascript")
    file("/page.css", "page.css", "text/css")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page_of(app.openapi()))
