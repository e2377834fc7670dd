"""The schemas of `/openapi.json`: rows, problems, the model."""

from typing import Any

from pneumoscan.web.http.responses import PNG

Table = dict[str, Any]


def schemas() -> Table:
    """Return the schemas by their names."""
    row, facts = _row_schema(), _facts_schema()
    picture = {"anyOf": [{"$ref": "#/components/schemas/Picture"}, {"type": "null"}]}
    lungs = {"anyOf": [{"$ref": "#/components/schemas/Lungs"}, {"type": "null"}]}
    pictures = {"heatmap": picture, "picture": picture, "lungs": lungs}
    return {
        "Row": _object(row | facts, optional=pictures),
        "Picture": _object({"media_type": {"const": PNG}, "data": _base64()}),
        "Lungs": _lungs_schema(),
        "Problem": _problem_schema(),
        "Status": _object({"status": {"enum": ["ok", "ready"]}}),
        "Model": {
            "type": "object",
            "description": "The content of the bundle; missing facts are null.",
            "required": ["name", "model", "default_operating_point", "operating_points", "has_heatmap"],
            "properties": {
                "name": {"type": "string"},
                "model": {"type": "string", "description": "As in the rows."},
                "default_operating_point": {"type": "string"},
                "operating_points": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["name", "threshold"],
                        "properties": {"threshold": {"type": "number", "minimum": 0, "maximum": 1}},
                    },
                },
                "has_heatmap": {"type": "boolean"},
                "has_lungs": {"type": "boolean"},
                "research_use_only": {"const": True},
                "shown_to_work": {
                    "type": "string",
                    "description": "Patients for whom the model is shown to work.",
                },
            },
        },
    }


def _row_schema() -> Table:
    text = {"type": "string"}
    rate = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "path": {"const": "<bytes>"},
        "status": {"enum": ["ok", "refused"]},
        "probability": {**rate, "type": ["number", "null"], "description": "Probability of PNEUMONIA."},
        "label": {"enum": ["PNEUMONIA", "NORMAL", "UNSURE", "NOT_A_CHEST_FILM", ""]},
        "threshold": rate,
        "warnings": {"type": "array", "items": text},
        "error_code": text,
        "error": text,
        "model": {"type": "string", "description": "Name and first digits of the SHA-256 of the network."},
        "site": {
            "type": "string",
            "description": "The site that the film resembles, or `none`; empty if refused.",
        },
    }


def _facts_schema() -> Table:
    side = {"type": "integer", "minimum": 1}
    return {
        "sha256": {
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
            "description": "SHA-256 of the bytes of the film.",
        },
        "logit": {"type": "number", "description": "Logit before the temperature."},
        "distance": {
            "type": ["number", "null"],
            "description": "Distance of the film from the training films.",
        },
        "width": side,
        "height": side,
        "format": {"type": "string", "description": "Format of the file."},
    }


def _lungs_schema() -> Table:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    point = {"type": "array", "items": share, "minItems": 2, "maxItems": 2}
    box = {"type": "array", "items": share, "minItems": 4, "maxItems": 4}
    outlines = {"type": "array", "maxItems": 2, "items": {"type": "array", "items": point}}
    quality = _object(
        dict.fromkeys(("share", "balance", "cut", "confidence"), share)
        | {"parts": {"type": "integer"}, "upright": {"type": "number"}}
    )
    places = "Places are shares of the film's width and height."
    return _object(
        {
            "box": {**box, "description": f"Left, top, right, bottom. {places}"},
            "outlines": {**outlines, "description": f"Of each lung, closed. {places}"},
            "quality": quality,
        }
    )


def _problem_schema() -> Table:
    text = {"type": "string"}
    return _object(
        {
            "type": text,
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text,
            "remedy": {"type": "string", "description": "What to do; may be empty."},
            "code": {
                "type": "string",
                "description": "Stable codes, of the command line or of HTTP.",
            },
        }
    )


def _base64() -> Table:
    return {"type": "string", "contentEncoding": "base64"}


def _object(properties: Table, optional: Table | None = None) -> Table:
    return {
        "type": "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
        "additionalProperties": False,
    }
