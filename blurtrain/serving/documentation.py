"""An OpenAPI document as a page to read, without scripts or anything from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any


def page_of(document: Mapping[str, Any]) -> str:
    """HTML of all operations: what they take, and what they answer."""
    title = escape(f"{document['info']['title']}, version {document['info']['version']}")
    body = "\n".join(
        line
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for line in _operation(method.upper(), path, operation)
    )
    shapes = document.get("components", {}).get("schemas", {})
    shown = "\n".join(line for name, shape in shapes.items() if "title" in shape for line in _shape(name, shape))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="/page.css"></head>'
        f'<body><main><h1>{title}</h1>\n<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>\n{body}'
        f"\n<h2>Answers</h2>\n{shown}</main></body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{escape(method)} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p><ul>"
    for given in operation.get("parameters", []):
        text = given.get("description") or given["schema"].get("description") or _kind(given["schema"])
        yield f"<li><code>{escape(given['name'])}</code> ({escape(given['in'])}): {escape(text)}</li>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        names = ", ".join(content["schema"].get("properties", {}))
        yield f"<li>body: {escape(kind)}, <code>{escape(names)}</code></li>"
    for status, answer in operation["responses"].items():
        contents: Mapping[str, Any] = answer.get("content", {})
        found: Mapping[str, Any] = next((one.get("schema", {}) for one in contents.values()), {})
        yield f"<li>answer {escape(str(status))}: {escape(_kind(found) or answer['description'])}</li>"
    yield "</ul>"


def _shape(name: str, shape: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3>{escape(name)}</h3><p>{escape(shape.get('description', ''))}</p><ul>"
    for field, value in shape.get("properties", {}).items():
        text = f"{_kind(value)} {value.get('description', '')}".strip()
        yield f"<li><code>{escape(field)}</code>: {escape(text)}</li>"
    yield "</ul>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", ""))
