"""The service's OpenAPI description, made from the message contracts."""

from typing import Any

from pydantic.json_schema import models_json_schema

from contracts.feedback import FeedbackReceipt, FeedbackRequest
from contracts.messages import BatchRequest, BatchResponse, RecommendRequest, RecommendResponse
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


_REQUEST = {"user_id": "u1", "k": 2, "exclude": ["v3"], "filters": {"longest": 60}}

_BATCH = {"user_ids": ["u1"], "k": 2, "exclude": ["v3"]}

_RESPONSE = {
    "response_id": "6f0f2b6e0d5f4f0c9b8f2f7f0a6f1f8e",
    "surface": "video-feed",
    "model": "mf",
    "version": "3",
    "items": [
        {"item_id": "v17", "score": 0.92, "step": "neighbours"},
        {"item_id": "v4", "score": 1801.0, "step": "popular"},
    ],
    "fallbacks": [
        {"step": "neighbours", "reason": "unknown_user"},
        {"step": "popular", "reason": "unknown_user"},
    ],
    "missing": [],
}

_FEEDBACK = {
    "response_id": "6f0f2b6e0d5f4f0c9b8f2f7f0a6f1f8e",
    "events": [
        {"event_id": "e1", "kind": "impression", "item_id": "v17", "at": "2026-01-31T12:00:00Z"},
        {"event_id": "e2", "kind": "watch", "item_id": "v17", "at": "2026-01-31T12:00:09Z", "seconds": 8.5},
    ],
}

_RECEIPT = {
    "response_id": _FEEDBACK["response_id"],
    "events": [
        {"event_id": "e1", "state": "duplicate", "late": False},
        {"event_id": "e2", "state": "stored", "late": False},
    ],
}


def _json(schema: dict[str, Any], description: str, example: object = None) -> dict[str, Any]:
    media = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"description": description, "content": {"application/json": media}}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1 of the endpoints that are ours; the health endpoints are BentoML's."""
    keys, definitions = models_json_schema(
        [
            (RecommendRequest, "validation"),
            (RecommendResponse, "serialization"),
            (BatchRequest, "validation"),
            (BatchResponse, "serialization"),
            (FeedbackRequest, "validation"),
            (FeedbackReceipt, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Backbeat recommender", "version": library_versions().get("backbeat", "unknown")},
        "paths": {
            "/recommend": {
                "post": {
                    "summary": "Videos, music for a video, or music for a user",
                    "requestBody": {
                        "required": True,
                        **_json(keys[(RecommendRequest, "validation")], "whom the list is for", _REQUEST),
                    },
                    "responses": {
                        "200": _json(keys[(RecommendResponse, "serialization")], "the served list", _RESPONSE),
                        "400": _json(error, "a malformed body, or a filter that the catalogue cannot answer"),
                        "404": _json(error, "the surface is not served here, or has no champion"),
                        "413": _json(error, "a body that is too large"),
                        "500": _json(error, "a fault of the service"),
                        "503": _json(error, "no answer in time, or the surface's champion could not be loaded yet"),
                    },
                }
            },
            "/recommend/batch": {
                "post": {
                    "summary": "Lists for many users, by one read of features and one matrix product",
                    "requestBody": {
                        "required": True,
                        **_json(keys[(BatchRequest, "validation")], "whom the lists are for", _BATCH),
                    },
                    "responses": {
                        "200": _json(
                            keys[(BatchResponse, "serialization")],
                            "the served lists, in the order of the users",
                            {"responses": [_RESPONSE]},
                        ),
                        "400": _json(error, "a malformed body, or a filter that the catalogue cannot answer"),
                        "404": _json(error, "the surface is not served here, or has no champion"),
                        "413": _json(error, "a body that is too large"),
                        "500": _json(error, "a fault of the service"),
                        "503": _json(error, "no answer in time, or the surface's champion could not be loaded yet"),
                    },
                }
            },
            "/feedback": {
                "post": {
                    "summary": "What a user did with a served list; answered once it is durable",
                    "requestBody": {
                        "required": True,
                        **_json(keys[(FeedbackRequest, "validation")], "events on one list", _FEEDBACK),
                    },
                    "responses": {
                        "200": _json(keys[(FeedbackReceipt, "serialization")], "what became of each event", _RECEIPT),
                        "400": _json(error, "a malformed body, an item that is not in the list, or a wrong time"),
                        "404": _json(error, "no such list was served"),
                        "409": _json(error, "another event has that id"),
                        "413": _json(error, "a body that is too large"),
                        "503": _json(error, "the database failed; send the same events again"),
                    },
                }
            },
            "/status": {
                "get": {
                    "summary": "Serving versions and the work beside the answers",
                    "responses": {"200": _json({"type": "object"}, "versions and counters of each surface")},
                }
            },
        },
        "components": {"schemas": {**definitions["$defs"], "Error": _ERROR}},
    }
