"""An index as datasketch's MinHashLSH, for services that look texts up in memory or in Redis."""

from __future__ import annotations

import importlib.util
import os
import pickle
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.kernels.minhash import min_hash, permutation_factors
from operators.kernels.near_index import Index
from operators.kernels.shingles import shingle_lists
from operators.minhash_signature import MinhashSignature
from pipeline.errors import ConfigError, ResourceError
from pipeline.near_index import signature_from

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

# How datasketch calls values of 32 bits that come from permutations a * x + b mod 2^32.
SCHEME = "affine32"


def export_datasketch(index: Index, path: Path, redis: str | None = None) -> int:
    """Write the index as a pickled MinHashLSH; how many documents it has.

    Its keys are the documents' ids. redis: `host:port` of a server that holds the tables instead of the
    pickle, which then only says where they are. Raises ConfigError when datasketch is missing or two
    documents have one id."""
    datasketch = _datasketch()
    if not index.parts:
        raise ConfigError("the index is empty: add documents with `tamis index add` first")
    signature = signature_from(index.parts[0], index.parts[0].data)
    storage = _storage(redis)
    shape = (signature.bands, signature.rows)
    try:
        lsh = datasketch.MinHashLSH(num_perm=signature.permutations, params=shape, storage_config=storage)
        rows = _insert(index, lsh, signature)
    except Exception as error:
        if redis is not None and type(error).__module__.startswith("redis"):
            raise ResourceError(f"the Redis at {redis} does not answer: {error}") from error
        raise
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(pickle.dumps(lsh))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def query_minhash(index: Index, text: str) -> MinHash:
    """The datasketch MinHash of a text, to query an exported index with: `lsh.query(query_minhash(...))`."""
    signature = signature_from(index.parts[0], index.parts[0].data)
    _, hashes = shingle_lists(pa.array([text], pa.large_string()), signature.shingling())
    return _minhash(signature, minima(signature, hashes))


def minima(signature: MinhashSignature, shingles: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """(permutations,) the minima of a set, of which a signature keeps one byte each."""
    return min_hash(shingles, permutation_factors(signature.seed, signature.permutations))


def _minhash(signature: MinhashSignature, values: npt.NDArray[np.uint32]) -> Any:
    factors = permutation_factors(signature.seed, signature.permutations)
    return _datasketch().MinHash(
        seed=signature.seed, hashvalues=values, permutations=(factors, np.zeros_like(factors)), scheme=SCHEME
    )


def _insert(index: Index, lsh: MinHashLSH, signature: MinhashSignature) -> int:
    rows = 0
    with lsh.insertion_session() as session:
        for docs, chunk, there in index.chunks():
            for i, name in enumerate(chunk.ids.to_pylist()):
                if not there[i]:
                    continue
                shingles = chunk.hashes[chunk.offsets[i] : chunk.offsets[i + 1]]
                try:
                    session.insert(name, _minhash(signature, minima(signature, shingles)))
                except ValueError as error:
                    raise ConfigError(
                        f"two documents of the index have the id {name!r} (the second is of {docs.source}), "
                        "and ids are the keys in datasketch: keep an index for each source that has its own"
                    ) from error
                rows += 1
    return rows


def _storage(redis: str | None) -> dict[str, Any]:
    if redis is None:
        return {"type": "dict"}
    host, colon, port = redis.rpartition(":")
    if not colon or not port.isdigit():
        raise ConfigError(f"--redis {redis}: name the server as HOST:PORT, such as localhost:6379")
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("--redis needs the package redis: pip install 'tamis[index]'")
    name = f"tamis-{uuid.uuid4().hex}".encode()  # tables of its own: an earlier export stays whole
    return {"type": "redis", "basename": name, "redis": {"host": host, "port": int(port)}}


def _datasketch() -> Any:
    try:
        import datasketch
    except ModuleNotFoundError as error:
        raise ConfigError("this needs datasketch: pip install 'tamis[index]'") from error
    return datasketch
