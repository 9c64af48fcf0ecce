"""What Hydra and OmegaConf raise about the user's input, in oarlock's words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from oarlock.checking import unknown_key
from oarlock.errors import UserError, nearest, one_line
from oarlock.plugins import Host
from oarlock.registry import Registry


@contextlib.contextmanager
def user_errors(host: Host) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise about the user's input into our own words."""
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _translate(error, host) from error
    except RecursionError as error:
        raise UserError("The configuration is nested too deeply.") from error
    except (ValueError, TypeError, AssertionError, AttributeError, KeyError, OSError) as error:
        # Hydra itself lets these escape on odd input; composition has no other source of them.
        raise UserError(f"The configuration cannot be composed: {one_line(error)}") from error


def _translate(error: Exception, host: Host) -> UserError:
    registry = host.registry
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.removesuffix(".yaml").rpartition("/")
        if group in registry.groups:
            return host.explain_missing(group, name)
        if not group:
            return UserError(f"{name}: there is no such configuration file.")
        return UserError(f"{group}={name}: there is no such {group}. {nearest(name, error.options or [])}")
    message = str(error)
    where, rest = re.match(r"(?:In '([^']+)': )?(.*)", message, re.DOTALL).groups()  # type: ignore[union-attr]
    where = f"{where}: " if where else ""
    cause = error
    while not isinstance(cause, OmegaConfBaseException) and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    if not isinstance(cause, OmegaConfBaseException):
        return UserError(where + _translate_hydra(rest, registry))
    # Of an item of a list it is the index, a number.
    key = str("" if cause.full_key is None else cause.full_key).removeprefix("_dummy_")
    text = one_line(cause)
    override = re.match(r"Error merging override (.*)", message, re.DOTALL)
    override = override or re.match(
        r"Could not override '.*'\.\nTo append to your config use \+(.*)", message, re.DOTALL
    )
    if override and key and (inner := _within(override[1], key, text, cause, registry)):
        return UserError(f"{override[1]}: {inner}")
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)) and key:
        if "." in str(cause.key):
            return UserError(f"{where}'{cause.key}' is a single key; write its parts one below the other.")
        if where.startswith(f"{key}/"):
            return UserError(f"{where}the file must begin with '# @package _global_'.")
        return UserError(where + str(unknown_key(key, cause.object_type, registry)))
    if "does not support deletion" in text:
        text = "it cannot be left out"
    elif "is not Optional" in text or text.startswith("Incompatible value 'None'"):
        text = "it cannot be null"
    elif "is not a ListConfig, list or tuple" in text:
        text = "expected a list, in brackets: [A,B]"
    elif re.match(r"Invalid type assigned: \w+ is not a subclass of", text):
        text = f"it is no single value; it has options of its own, {key}.…"
    elif isinstance(cause, MissingMandatoryValue):
        text = f"a value is needed; write {key}=…"
    return UserError(where + (text if not key or text.startswith((key, f"'{key}'")) else f"{key}: {text}"))


def _within(override: str, key: str, text: str, cause: OmegaConfBaseException, registry: Registry) -> str:
    """What is wrong inside the value of an override, where OmegaConf gives a key within that; '' where it gives the whole."""
    typed, _, value = override.lstrip("+~").partition("=")
    if re.match(rf"{re.escape(typed)}[.[]", f"{key}.") or f"{typed}.".startswith(f"{key}."):
        return ""
    above, _, last = typed.rpartition(".")
    if key == last and value.startswith("{") and "is not a subclass of" in text:
        return f"to add one, write +{above}={{{last}:{value}}}"
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        return str(unknown_key(f"{typed}.{key}", cause.object_type, registry)).partition(": ")[2]
    return text if text.startswith((key, f"'{key}'")) else f"{key}: {text}"


def _translate_hydra(message: str, registry: Registry) -> str:
    """What Hydra itself says of overrides and defaults lists, for someone who types `oarlock train`."""

    def quoted(pattern: str) -> str:
        match = re.match(pattern, message)
        return match[1] if match else ""

    if text := quoted(r"Ambiguous value for argument '(.*)'\n"):
        key, _, value = text.partition("=")
        one = key in registry.groups and not registry.groups[key].many
        as_list = "" if one else f", or write {key}=[{value}] for a list"
        return f"{text}: several values; add -m to sweep over them{as_list}."
    if text := quoted(r"Sweep parameters '(.*)' requires"):
        return f"{text}: several values; add -m to sweep over them."
    if text := quoted(r"Sweeping over Hydra's configuration is not supported : '(.*)'"):
        return f"{text}: Hydra's own configuration cannot be swept over."
    if key := quoted(r"Could not append to config\. An item is already at '([^']*)'"):
        return f"+{key}: it is there already; write {key}=…"
    if key := quoted(r"Multiple values for (.*?)\."):
        return f"{key} is chosen already; write 'override /{key}: …'."
    if key := quoted(r"You must specify '([^']*)'"):
        return f"{key}: one must be chosen, with {key}=… {nearest('', registry.options(key))}"
    group, _, name = quoted(r"Could not delete from config\. '([^'=]*)").rpartition(".")
    if name in registry.options(group):
        return f"~{group}.{name}: '{name}' is not chosen, so it cannot be left out."
    if key := quoted(r"Could not (?:override|delete) (?:from config\. )?'([^'=]*)"):
        if key.startswith("experiment/"):
            group = key.partition("@")[0].removeprefix("experiment/")
            return f"{group}: write 'override /{group}: …', with a slash."
        if "@" in key:
            return f"{key}: there is nothing to override; write +{key}=…"
        return str(unknown_key(key, None, registry))
    return one_line(Exception(message))
