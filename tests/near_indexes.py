"""Parts of near-duplicate indexes written by hand: the format as it is documented, without the pipeline."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators.kernels.band_lookup import cell_bits, cell_starts
from operators.kernels.lists import fixed
from operators.kernels.minhash import permutation_factors, sign
from operators.kernels.near_part import FORMAT, docs_schema, keys_schema, sketch_schema
from operators.kernels.shingles import shingle_lists
from operators.minhash_dedup import MinhashDedup
from operators.minhash_signature import MinhashSignature


def signature_of(op: MinhashDedup) -> MinhashSignature:
    return next(MinhashSignature(**part.fields) for part in op.parts() if part.op == "minhash_signature")


def write_part(
    folder: Path, op: MinhashDedup, texts: list[str], ids: list[str], removes: list[int] | None = None
) -> str:
    """One part with one shard of these documents; its path."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    signature, column = signature_of(op), pa.array(texts, pa.large_string())
    bands, bytes_, _, _ = sign(
        column,
        signature.shingling(),
        bands=signature.bands,
        rows=signature.rows,
        factors=permutation_factors(signature.seed, signature.permutations),
    )
    offsets, hashes = shingle_lists(column, signature.shingling())
    sets = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))
    order = np.argsort(bands.reshape(-1), kind="stable")
    key, ordinal = bands.reshape(-1)[order], (order // signature.bands).astype(np.uint32)
    arrays = (key, ordinal, cell_starts(key, 0, cell_bits(len(key))))
    lists = [pa.LargeListArray.from_arrays(pa.array([0, len(a)]), pa.array(a)) for a in arrays]
    docs = write(folder, docs_schema(), [pa.array(ids, pa.large_string()), column, sets])
    sketch = write(folder, sketch_schema(signature.permutations), [fixed(bytes_)])
    shard = {"rows": len(texts), "shard": "s", "source": "hand"}
    shard |= {"docs": docs["file"], "docs_bytes": docs["bytes"]}
    shard |= {"sketch": sketch["file"], "sketch_bytes": sketch["bytes"]}
    gone = None if removes is None else pa.schema([("reference", pa.uint64())])
    record = {
        "format": FORMAT,
        "signing": {"scheme": "by hand"},
        "range_bits": 0,
        "docs": [shard],
        "keys": [write(folder, keys_schema(), lists)],
        "removes": None if gone is None else write(folder, gone, [pa.array(removes, pa.uint64())]),
    }
    path = folder / "parts" / f"{uuid.uuid4().hex[:24]}.json"
    path.write_text(json.dumps(record))
    return str(path)


def write(folder: Path, schema: pa.Schema, columns: list[pa.Array]) -> dict[str, Any]:
    path = folder / "data" / f"{uuid.uuid4().hex}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return {"file": path.name, "bytes": path.stat().st_size}
