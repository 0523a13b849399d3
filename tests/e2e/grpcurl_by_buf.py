"""grpcurl, as far as the README uses it, by means of `buf curl`: the same arguments in, the same text out.

Usage: grpcurl_by_buf.py BUF, then grpcurl's own arguments.
"""

import argparse
import base64
import json
import re
import subprocess
import sys
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.rpc import error_details_pb2

_REFLECTION = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def main(buf: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grpcurl")
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-d", default="{}")
    parser.add_argument("-max-time", type=float)
    parser.add_argument("address")
    parser.add_argument("verb")
    parser.add_argument("symbol", nargs="?")
    given = parser.parse_args(arguments)
    curl = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    url = f"http://{given.address}"
    if given.verb == "list":
        return subprocess.run([*curl, "--list-services", url], check=False).returncode
    if given.verb == "describe":
        print(_describe(given.symbol, curl, url))
        return 0
    limit = ["--timeout", f"{given.max_time}s"] if given.max_time else []
    return _call([*curl, *limit, "-d", "@-" if given.d == "@" else given.d, f"{url}/{given.verb}"])


def _call(command: list[str]) -> int:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    print(_proto_names(process.stdout), end="", flush=True)
    if process.returncode >= 8:  # less is a mistake of usage, more the gRPC status
        print(_error(json.loads(process.stderr)), file=sys.stderr)
        return 64 + process.returncode // 8
    print(process.stderr, end="", file=sys.stderr)
    return process.returncode


def _proto_names(text: str) -> str:
    """Write the keys of JSON as the protos do: grpcurl takes them from reflection, which does not know others here."""
    return re.sub(r'^\s*"\w+":', lambda key: re.sub(r"[A-Z]", lambda c: "_" + c[0].lower(), key[0]), text, flags=re.M)


def _error(error: dict[str, Any]) -> str:
    code = "".join(word.capitalize() for word in error["code"].split("_"))
    lines = ["ERROR:", f"  Code: {code}", f"  Message: {error['message']}"]
    details = error.get("details", [])
    if details:
        lines.append("  Details:")
    for number, detail in enumerate(details, start=1):
        lines.append(f"  {number})\t" + _detail(**detail).replace("\n", "\n    \t"))
    return "\n".join(lines)


def _detail(type: str, value: str) -> str:  # noqa: A002 - as it is written
    message = getattr(error_details_pb2, type.rpartition(".")[2])()
    message.ParseFromString(base64.b64decode(value + "=="))
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True)
    whole = {"@type": f"type.googleapis.com/{type}", **dict(sorted(fields.items()))}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _describe(symbol: str, curl: list[str], url: str) -> str:
    """Describe a message or service from what the server's reflection answers."""
    request = json.dumps({"fileContainingSymbol": symbol})
    answer = subprocess.run([*curl, "-d", request, f"{url}/{_REFLECTION}"], stdout=subprocess.PIPE, check=True)
    package, _, name = symbol.rpartition(".")
    for encoded in json.loads(answer.stdout)["fileDescriptorResponse"]["fileDescriptorProto"]:
        file = FileDescriptorProto.FromString(base64.b64decode(encoded))
        described: list[DescriptorProto | ServiceDescriptorProto] = [*file.message_type, *file.service]
        for found in described:
            if (file.package, found.name) == (package, name):
                return f"{symbol} is a {_kind(found)}:\n{_definition(found)}"
    raise LookupError(symbol)


def _kind(found: DescriptorProto | ServiceDescriptorProto) -> str:
    return "message" if isinstance(found, DescriptorProto) else "service"


def _definition(found: DescriptorProto | ServiceDescriptorProto) -> str:
    if isinstance(found, DescriptorProto):
        lines = [_field(field) for field in found.field]
    else:
        lines = [_method(method) for method in sorted(found.method, key=lambda method: method.name)]
    return "\n".join([f"{_kind(found)} {found.name} {{", *lines, "}"])


def _field(field: FieldDescriptorProto) -> str:
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    label = "repeated " if repeated else "optional " if field.proto3_optional else ""
    kind = field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"  {label}{kind} {field.name} = {field.number};"


def _method(method: MethodDescriptorProto) -> str:
    sent = "stream " * method.client_streaming + method.input_type
    answered = "stream " * method.server_streaming + method.output_type
    return f"  rpc {method.name} ( {sent} ) returns ( {answered} );"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
