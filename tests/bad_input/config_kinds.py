"""Configs, paths and --set arguments that are wrong."""

from __future__ import annotations

from bad_input.kinds import EXPORT, NODES, Kind, config, docs

_FILES = {"a.parquet": docs()}
_SOURCE = "source: {path: a.parquet, id: id}\n"
_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def _config(what: str, says: tuple[str, ...], text: str | bytes, *sets: str, **files: str) -> Kind:
    named = {name.replace("_", "."): content for name, content in files.items()}
    return Kind("Config", what, 2, says, _FILES | named, text, sets=sets)


def _node(what: str, says: tuple[str, ...], body: str, **files: str) -> Kind:
    return _config(what, says, f"{_SOURCE}nodes: {{a: {body}}}\n", **files)


def _path(what: str, says: tuple[str, ...], text: str, **more: object) -> Kind:
    more = {"files": _FILES} | more
    return Kind("Paths", what, 2, says, config=text, **more)  # type: ignore[arg-type]


_FINE = _SOURCE + NODES
_IN = {"in/a.parquet": docs()}
_MAPPING = "c.yaml:1: a config is a mapping with the keys source"

KINDS = [
    _config("an empty file", (_MAPPING, "not nothing"), "# nothing\n"),
    _config("a list", (_MAPPING, "not a list"), "- a\n"),
    _config("a text", (_MAPPING, "not a str"), "hello\n"),
    _config("not UTF-8", ("c.yaml: not UTF-8 text", "at byte 18"), b"source: {path: caf\xe9}\n"),
    _config("UTF-16", ("c.yaml: not UTF-8 text",), _FINE.encode("utf-16")),
    _config("a NUL", ("c.yaml:3: the character #x00 is not allowed",), _FINE + "\0"),
    _config("tabs", ("c.yaml:2: not YAML", "indent with spaces, not with tabs"), "source:\n\tpath: a.parquet\n"),
    _config("a bracket that is never closed", ("c.yaml:2: not YAML: expected ',' or '}'",), "source: {path: a.parquet\n" + NODES),
    _config("a key twice", ("c.yaml:2: the key 'source' is already in line 1",), _SOURCE + _FINE),
    _config("two documents", ("c.yaml:2: not YAML", "another document"), f"{_SOURCE}---\n{NODES}"),
    _config("anchors that explode (billion laughs)", ("anchors or nesting expand to more than 100,000 values",), _LAUGHS),
    _config("an anchor inside itself", ("c.yaml:1: anchors or nesting expand 64 deep",), "a: &a [*a]\n"),
    _config("5,000 open brackets", ("c.yaml:1: nested more than 64 deep",), "a: " + "[" * 5_000),
    _config("a tag that makes Python objects", ("c.yaml:1: the tag !!python/object/apply:os.system is not allowed",), f"source: !!python/object/apply:os.system ['true']\n{NODES}"),
    _config("an environment variable that is not set", ("c.yaml:1: the environment variable TAMIS_NOT_SET is not set",), "source: {path: '${TAMIS_NOT_SET}/a.parquet'}\n" + NODES),
    _config("an unknown section", ("c.yaml:3: no section 'foo'",), _FINE + "foo: 1\n"),
    _config("a key that is no text", ("c.yaml:3: no section None",), _FINE + "~: 1\n"),
    _config("no source", ("give one of `source: {path: ...}`",), NODES),
    _config("no nodes", ("c.yaml:2: nodes is a mapping of names to {op: ...}",), _SOURCE + "nodes: {}\n"),
    _config("nodes in a circle", ("c.yaml:2: nodes wait for each other: a -> b -> a",), _SOURCE + "nodes: {a: {op: size, input: b}, b: {op: size, input: a}}\n"),
    _config("an unknown type in `schema:`", ("'foo' is no Arrow type",), "source: {path: a.parquet, schema: {text: foo}}\n" + NODES),
    _config("a shard of -5 bytes", ("c.yaml:1: source: shard_bytes = -5",), "source: {path: a.parquet, shard_bytes: -5}\n" + NODES),
    _config("a size of 1e400 bytes", ("c.yaml:1: source: shard_bytes = inf", "finite"), "source: {path: a.parquet, shard_bytes: 1e400}\n" + NODES),
    _config("a seed that is true", ("c.yaml:3: config: seed = true: a number is wanted",), _FINE + "seed: true\n"),
    _config("a seed above 2^63", ("c.yaml:3: config: seed = 9999", "less than 9223372036854775808"), _FINE + f"seed: {'9' * 25}\n"),
    _config("an unknown export format", ("c.yaml:3: export: format = 'xml'",), _FINE + "export: {path: out, format: xml}\n"),
    _node("an input that is not there", ("c.yaml:2: node a: input: nothing is named 'zz'",), "{op: size, input: zz}"),
    _node("a node that is null", ("c.yaml:2: node a is a mapping such as {op: length_filter}, not None",), ""),
    _node("an unknown operator", ("c.yaml:2: no operator 'exact_dedupe'; did you mean 'exact_dedup'?",), "{op: exact_dedupe}"),
    _node("an unknown field", ("c.yaml:2: minhash_dedup has no field 'treshold'; did you mean 'threshold'?",), "{op: minhash_dedup, treshold: 0.5}"),
    _node("a threshold above its range", ("c.yaml:2: minhash_dedup: threshold = 1.5", "less than or equal to 1"), "{op: minhash_dedup, threshold: 1.5}"),
    _node("a threshold that is NaN", ("c.yaml:2: minhash_dedup: threshold = nan",), "{op: minhash_dedup, threshold: .nan}"),
    _node("a negative count", ("c.yaml:2: length_filter: min = -3", "greater than or equal to 0"), "{op: length_filter, min: -3}"),
    _node("a boolean for a number", ("c.yaml:2: length_filter: min = true: a number is wanted, not true or false",), "{op: length_filter, min: true}"),
    _node("a text for a number", ("c.yaml:2: length_filter: min = 'many'",), "{op: length_filter, min: many}"),
    _node("a lower bound above the upper one", ("c.yaml:2: ", "min 10 is above max 3: nothing would stay"), "{op: length_filter, min: 10, max: 3}"),
    _node("no workers", ("c.yaml:2: a.resources: workers = 0",), "{op: size, resources: {workers: 0}}"),
    _node("infinitely many GPUs", ("c.yaml:2: a.resources: gpus = inf", "finite"), "{op: size, resources: {gpus: .inf}}"),
    _node("an operator file that is not there", ("c.yaml:2: no operator file",), "{op: ./nope.py}"),
    _node("an operator file that is no Python", ("{folder}/x.py:1: not Python",), "{op: ./x.py}", x_py="def (:\n"),
    _node("an operator file that exits", ("{folder}/x.py:1: loading failed: SystemExit",), "{op: ./x.py}", x_py="import sys; sys.exit(0)\n"),
    _config("--set of an unknown node", ("--set nodes.exat.x=1: no node 'exat'; did you mean 'exact'?",), _FINE, "nodes.exat.x=1"),
    _config("--set of an unknown field", ("--set nodes.exact.x=1: exact_dedup has no field 'x'",), _FINE, "nodes.exact.x=1"),
    _config("--set of an unknown section", ("--set foo.bar=1: no section 'foo'",), _FINE, "foo.bar=1"),
    _config("--set into a number", ("--set seed.a=1: seed is 1, which has no keys",), _FINE + "seed: 1\n", "seed.a=1"),
    _config("--set without a value", ("--set nodes.exact: write it like --set nodes.NAME.FIELD=VALUE",), _FINE, "nodes.exact"),
    _config("--set of broken YAML", ("--set seed=[1: not YAML",), _FINE, "seed=[1"),
    _config("--set of a wrong value", ("--set seed=x: config: seed = 'x'",), _FINE, "seed=x"),
    _path("a path that climbs out to a file of the system", ("/etc/passwd: the ending does not say what this file is",), config("{path: '../../../../../../../../etc/passwd'}")),
    _path("a NUL in a path", ("names no file",), config('{path: "a\\0.parquet"}')),
    _path("a file system that nobody knows", ("foo://bar/x.parquet cannot be listed", "Protocol not known"), config("{path: 'foo://bar/x.parquet'}")),
    _path("a server that does not answer", ("http://127.0.0.1:9/x.parquet cannot be listed",), config("{path: 'http://127.0.0.1:9/x.parquet'}")),
    _path("a store that is a file", ("c.yaml:4: store s: {folder}/s is a file, not a folder",), config(rest=EXPORT + "store: s\n").replace("nodes", "\nnodes", 1).replace("\n\n", "\n"), files=_FILES | {"s": "x"}),
    _path("a store in an unknown file system", ("store foo://bar: Protocol not known",), config(rest="store: foo://bar\n")),
    _path("an export into a file", ("{folder}/s is a file, not a folder",), config(rest="export: {path: s/out}\n"), files=_FILES | {"s": "x"}),
    _path("an export into the source's folder", ("c.yaml:3: path in holds the source file {folder}/in/a.parquet",), config("{path: in}", rest="export: {path: in}\n"), files=_IN),
    _path("an export inside the source's folder", ("c.yaml:3: path in/out: the next run would take it for a part of the source",), config("{path: in}", rest="export: {path: in/out}\n"), files=_IN),
    _path("a glob that matches the export", ("c.yaml:3: path out: the next run would take it for a part of the source",), config("{path: '**/*.parquet'}", rest="export: {path: out}\n")),
    _path("the same folder for two exports", ("c.yaml:3: path ./out is also the folder of path out",), config(rest="export: [{path: out}, {path: ./out}]\n")),
    _path("an export over somebody's files", ("{folder}/out holds b.txt, which tamis did not write",), config(rest="export: {path: out}\n"), files=_FILES | {"out/b.txt": "x"}),
    _path("an export into the store", ("lies in the store",), config(rest="export: {path: .tamis/out}\n")),
    _path("a name of 300 letters for an export", ("no folder can be called so",), config(rest=f"export: {{path: {'a' * 300}}}\n")),
    _path("an export that climbs out to where no folder can be", ("/proc/tamis cannot be made", "export to another folder"), config(rest="export: {path: ../../../../../../../../../proc/tamis}\n"), by="run"),
]  # fmt: skip
