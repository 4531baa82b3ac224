"""Checks that docs/CONFIGURATION.md explains every key and every role that deploy/ uses."""

import re
import tomllib

# They choose the file and the profile, and are no keys of it.
OUTSIDE = {"ROCKET_CONFIG", "ROCKET_PROFILE"}


class Documented:
    """The keys of docs/CONFIGURATION.md by the heading under which it explains them."""

    def __init__(self, text):
        self.sections = {}
        for part in re.split(r"^## ", text, flags=re.M)[1:]:
            title, _, body = part.partition("\n")
            self.sections[title.strip().strip("`")] = body

    def keys(self, section):
        rows = re.findall(r"^\| ((?:`[a-z0-9_]+`(?:, )?)+) \|", self.sections.get(section, ""), flags=re.M)
        return {key for row in rows for key in re.findall(r"`([a-z0-9_]+)`", row)}

    def of_rocket(self):
        words = re.findall(r"`([a-z_.]+)`", self.sections.get("Rocket's own keys", "").strip().split("\n\n")[0])
        return {word.split(".")[0] for word in words}

    def problems(self, path, value):
        """What is wrong with a key, such as tollgate.rules, and with the keys within its value."""
        if path in ("databases", "databases.main", "tollgate"):
            inner = value.items() if isinstance(value, dict) else []
            if path == "databases" and set(value) - {"main"}:
                return [f"`databases` has other tables than main: {sorted(value)}"]
            return [found for key, below in inner for found in self.problems(f"{path}.{key}", below)]
        table, _, key = path.rpartition(".")
        if not table:
            return [] if key in self.of_rocket() else [f"`{path}` is not explained"]
        if table in self.sections:
            found = [] if key in self.keys(table) else [f"`{path}` is not explained"]
        else:
            # Tables without a heading of their own: their keys are named where the table is.
            above = table.rpartition(".")[0] if table.rpartition(".")[0] in self.sections else "tollgate"
            named = re.search(rf"\b{re.escape(key)}\b", self.sections.get(above, ""))
            found = [] if named else [f"`{path}` is not explained"]
        if isinstance(value, dict):
            found += [more for inner, below in value.items() for more in self.problems(f"{path}.{inner}", below)]
        if path == "tollgate.roles":
            found += self.unknown_roles(value)
        return found

    def unknown_roles(self, roles):
        row = next(iter(re.findall(r"^\| `roles` \|.*$", self.sections.get("tollgate", ""), flags=re.M)), "")
        return [f"the role {role} is not explained" for role in roles if not re.search(rf"\b{role}\b", row)]


def variable(documented, name, value):
    """Problems of an environment variable. Without a value, only of its name."""
    if name in OUTSIDE or not name.startswith("ROCKET_"):
        return []
    below = name.removeprefix("ROCKET_").lower()
    path = f"tollgate.{below.removeprefix('tollgate_')}" if below.startswith("tollgate_") else below
    parsed = value
    if value is not None and value[:1] in ("{", "["):
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            return [f"{name} is not TOML: {error}"]
    if path == "databases" and not isinstance(parsed, dict):
        return [f"{name} is not a table"] if value is not None else []
    return [f"{name}: {problem}" for problem in documented.problems(path, parsed)]


def file(documented, text):
    """Problems of a configuration file with its profiles."""
    found = []
    for profile in tomllib.loads(text).values():
        for key, value in profile.items():
            found += documented.problems(key, value)
    return found


def command(documented, words):
    """Problems of the roles in a command line."""
    found = []
    for option, value in zip(words, words[1:] + [""]):
        if option == "--roles":
            found += documented.unknown_roles(value.split(","))
    return found
