"""The service's OpenAPI description, made from the message contracts."""

from typing import Any

from pydantic.json_schema import models_json_schema

from contracts.messages import RecommendRequest, RecommendResponse
from contracts.revision import library_versions

__all__ = ["openapi_document"]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "subject", "found", "expected", "next"],
            "properties": {name: {"type": "string"} for name in ("code", "subject", "found", "expected", "next")},
        }
    },
}


def _json(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1 of the endpoints that are ours; the health endpoints are BentoML's."""
    keys, definitions = models_json_schema(
        [(RecommendRequest, "validation"), (RecommendResponse, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Backbeat recommender", "version": library_versions().get("backbeat", "unknown")},
        "paths": {
            "/recommend": {
                "post": {
                    "summary": "Videos for a user",
                    "requestBody": {
                        "required": True,
                        **_json(keys[(RecommendRequest, "validation")], "whom the list is for"),
                    },
                    "responses": {
                        "200": _json(keys[(RecommendResponse, "serialization")], "the served list"),
                        "400": _json(error, "a malformed body"),
                        "500": _json(error, "a fault of the service"),
                    },
                }
            },
            "/status": {
                "get": {
                    "summary": "Serving versions and the work beside the answers",
                    "responses": {"200": _json({"type": "object"}, "versions and counters")},
                }
            },
        },
        "components": {"schemas": {**definitions["$defs"], "Error": _ERROR}},
    }
