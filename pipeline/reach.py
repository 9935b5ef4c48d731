"""A look at the object store before anything else, so that what the environment lacks is said plainly."""

from __future__ import annotations

from pipeline.errors import ConfigError, ResourceError
from pipeline.store import Store

S3 = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL for another store "
    "than Amazon's"
)


def reach(store: Store) -> Store:
    """The store, when it answers. Raises ConfigError for missing or wrong credentials or a missing bucket,
    ResourceError when nobody answers; neither says what the credentials are."""
    if store.is_local or store.url.startswith("memory:"):
        return store
    names = S3 if store.url.startswith(("s3:", "s3a:")) else "what its fsspec file system reads"
    advice = f"credentials come from the environment alone, on every node: {names}"
    try:
        store.fs.ls(store.root, refresh=True) if names == S3 else store.fs.exists(store.root)
    except FileNotFoundError as error:
        bucket = store.root.partition("/")[0]  # nothing below a bucket that is there: a new store
        if names == S3 and not store.fs.exists(bucket):
            text = f"the store {store.url}: there is no bucket {bucket} for these credentials"
            raise ConfigError(f"{text}; make it") from error
    except PermissionError as error:
        raise ConfigError(f"the store {store.url} refuses these credentials; {advice}") from error
    except OSError as error:
        raise ResourceError(f"the store {store.url} does not answer: {type(error).__name__}") from error
    except Exception as error:  # botocore's own classes, which a core install does not have
        kind = type(error).__name__
        if "Credential" in kind:
            raise ConfigError(f"the store {store.url}: no credentials; {advice}") from error
        raise ResourceError(f"the store {store.url} does not answer ({kind}); {advice}") from error
    return store
