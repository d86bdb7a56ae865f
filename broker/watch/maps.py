"""Maps of names to values as text, for those who asked for one.

As such they are JSON objects. ActiveMQ writes its map messages otherwise, as XML or as the same in JSON; whoever
says `transformation:jms-map-xml` or `jms-map-json` gets it so:

    <map><entry><string>size</string><long>3</long></entry> … </map>
    {"map":{"entry":[{"string":"size","long":3}, … ]}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

Value = str | int | float | bool | None

TYPES = {str: "string", int: "long", float: "double", bool: "boolean", type(None): "null"}


def as_object(map: Mapping[str, Value]) -> str:
    """Return a map as a JSON object."""
    return json.dumps(map, separators=(",", ":"), ensure_ascii=False)


def as_entries(map: Mapping[str, Value]) -> str:
    """Return a map as ActiveMQ writes it into JSON."""
    entries: list[dict[str, Any]] = []
    for name, value in map.items():
        if isinstance(value, str):
            entries.append({"string": [name, value]})
        else:
            entries.append({"string": name, TYPES[type(value)]: "" if value is None else value})
    return json.dumps({"map": {"entry": entries}}, separators=(",", ":"), ensure_ascii=False)


def as_xml(map: Mapping[str, Value]) -> str:
    """Return a map as ActiveMQ writes it into XML."""
    lines = ["<map>"]
    for name, value in map.items():
        kind = TYPES[type(value)]
        text = escape(json.dumps(value) if not isinstance(value, str) else value)
        written = "<null/>" if value is None else f"<{kind}>{text}</{kind}>"
        lines.append(f"  <entry>\n    <string>{escape(name)}</string>\n    {written}\n  </entry>")
    return "\n".join([*lines, "</map>"])


#: What `transformation` asks for → the writer, and the type of what it writes.
FORMS: dict[str, tuple[Callable[[Mapping[str, Value]], str], str]] = {
    "": (as_object, "application/json"),
    "jms-map-json": (as_entries, "application/json"),
    "jms-map-xml": (as_xml, "application/xml"),
}


def write_map(map: Mapping[str, Value], form: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a message that is a map, in the form that somebody asked for."""
    form = form if form in FORMS else ""
    write, content_type = FORMS[form]
    headers = {"content-type": content_type} | ({"transformation": form} if form else {})
    return headers, write(map).encode()
