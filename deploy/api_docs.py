"""Renders the protos as one page of Markdown: services, messages and enums with the comments that they have there."""

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

_HEADER = "<!-- Generated from protos/ by `make proto`; edit the comments there. -->\n\n# The API"
# Where descriptor.proto keeps the parts of a file, which is how the comments are addressed.
_MESSAGES, _ENUMS, _SERVICES, _SYNTAX, _PARTS = 4, 5, 6, 12, 2
_Comments = dict[tuple[int, ...], str]


def render(files: FileDescriptorSet) -> str:
    """Return the page. The files must carry source info."""
    ours = [file for file in files.file if file.package.startswith("wattstream.")]
    names = {f".{file.package}.{message.name}" for file in ours for message in file.message_type}
    names |= {f".{file.package}.{enum.name}" for file in ours for enum in file.enum_type}
    contents = "\n".join(
        f"- [{service.name}](#{service.name.lower()}): {', '.join(_link(rpc.name) for rpc in service.method)}"
        for file in ours
        for service in file.service
    )
    return "\n\n".join((_HEADER, contents, *(part for file in ours for part in _file(file, names)))) + "\n"


def _file(file: FileDescriptorProto, names: set[str]) -> Iterator[str]:
    comments = {tuple(place.path): _text(place.leading_comments) for place in file.source_code_info.location}
    yield f"## {file.name.removeprefix('wattstream/api/')}"
    yield f"Package `{file.package}`. {comments.get((_SYNTAX,), '')}"
    for index, service in enumerate(file.service):
        yield from _service(service, (_SERVICES, index), comments, names)
    for index, message in enumerate(file.message_type):
        yield from _message(message, (_MESSAGES, index), comments, names)
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, (_ENUMS, index), comments)


def _service(
    service: ServiceDescriptorProto, path: tuple[int, ...], comments: _Comments, names: set[str]
) -> Iterator[str]:
    yield f"### {service.name}"
    yield comments[path]
    for index, rpc in enumerate(service.method):
        takes = f"{'stream of ' if rpc.client_streaming else ''}{_type(rpc.input_type, names)}"
        gives = f"{'stream of ' if rpc.server_streaming else ''}{_type(rpc.output_type, names)}"
        yield f"#### {rpc.name}"
        yield f"{takes} → {gives}"
        yield comments[*path, _PARTS, index]


def _message(message: DescriptorProto, path: tuple[int, ...], comments: _Comments, names: set[str]) -> Iterator[str]:
    yield f"### {message.name}"
    yield comments[path]
    rows = (
        (str(field.number), f"`{field.name}`", _field_type(field, message, names), comments[*path, _PARTS, index])
        for index, field in enumerate(message.field)
    )
    if message.field:
        yield _table(("", "field", "type", "meaning"), rows)


def _enum(enum: EnumDescriptorProto, path: tuple[int, ...], comments: _Comments) -> Iterator[str]:
    yield f"### {enum.name}"
    yield comments[path]
    rows = (
        (str(value.number), f"`{value.name}`", comments[*path, _PARTS, index]) for index, value in enumerate(enum.value)
    )
    yield _table(("", "value", "meaning"), rows)


def _field_type(field: FieldDescriptorProto, message: DescriptorProto, names: set[str]) -> str:
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    shown = _type(field.type_name, names) if field.type_name else f"`{kind}`"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {shown}"
    if field.proto3_optional:
        return f"optional {shown}"
    if field.HasField("oneof_index"):
        return f"{shown}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return shown


def _type(full_name: str, names: set[str]) -> str:
    return _link(full_name.rpartition(".")[2]) if full_name in names else f"`{full_name.removeprefix('.')}`"


def _text(comment: str) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(header)]
    cells += [["---"] * len(cells[0])]
    cells += [[cell.replace("\n", " ").replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
