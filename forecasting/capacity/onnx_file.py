"""ONNX files of the capacity models: opening with their record of training."""

import json
from typing import Any, Final

RECORD_KEY: Final = "fleetgym"


def open_session(content: bytes, what: str, features: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Return an onnxruntime session on one thread and the JSON in the model's metadata.

    Raises:
        ValueError: The bytes are no ONNX model, or it was made for other features.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"{what}: not a model that onnxruntime can read: {error}") from error
    held = session.get_modelmeta().custom_metadata_map.get(RECORD_KEY)
    if held is None:
        raise ValueError(f"{what}: the model carries no record of its training")
    metadata: dict[str, Any] = json.loads(held)
    if tuple(metadata["features"]) != features:
        raise ValueError(f"{what}: the model was made for the features {metadata['features']}, not {list(features)}")
    return session, metadata
