#!/usr/bin/env python3
"""Turns types.txt into the C++ tables that control/schema/types.h declares.

usage: generate_types.py types.txt output.cc
"""
import re
import shlex
import sys

SCALARS = {
    'bool': 'kBool', 'int32': 'kInt32', 'int64': 'kInt64', 'float64': 'kFloat64', 'string': 'kString',
    'any': 'kAny', 'types.UID': 'kString', 'api.resource.Quantity': 'kQuantity',
    'util.intstr.IntOrString': 'kIntOrString', 'runtime.RawExtension': 'kRaw', 'meta.v1.Time': 'kTime',
    'meta.v1.MicroTime': 'kMicroTime', 'meta.v1.Duration': 'kDuration', 'meta.v1.FieldsV1': 'kFieldsV1',
    'apiextensions.v1.JSON': 'kJson',
}
# Lists that are a message of their own in protobuf, with the items as its field 1.
GO_NAMES = {'api.resource.Quantity': 'resource.Quantity', 'util.intstr.IntOrString': 'intstr.IntOrString'}


class Tables:
    def __init__(self):
        self.types, self.enums, self.aliases = {}, {}, {}
        self.shapes, self.shape_index = [], {}

    def read(self, path):
        current = None
        for number, line in enumerate(open(path, encoding='utf-8'), 1):
            words = line.split()
            if not words or words[0].startswith('#'):
                continue
            if line[0] != ' ':
                kind, name, rest = words[0], words[1], words[2:]
                if kind == 'type':
                    current = {'fields': [], 'atomic': 'struct=atomic' in rest, 'union': 'union' in rest}
                    self.types[name] = current
                elif kind == 'enum':
                    self.enums[name] = shlex.split(line)[2:]  # a value may have blanks
                elif kind == 'alias':
                    self.aliases[name] = rest[0]
                else:
                    sys.exit(f'{path}:{number}: unknown line: {line}')
            else:
                current['fields'].append(self.field(words, f'{path}:{number}'))
        for each in self.types.values():
            each['fields'].sort(key=lambda field: field['number'])

    def field(self, words, where):
        field = {'name': '' if words[0] == '&' else words[0], 'type': words[1], 'number': int(words[2]),
                 'omit': False, 'required': True, 'merge': 'kDefault', 'keys': [], 'patch': [], 'patch_key': '',
                 'default': '', 'granular': False}
        for mark in words[3:]:
            name, _, value = mark.partition('=')
            value, _, argument = value.partition('(')
            argument = argument.rstrip(')')
            if mark == '?':
                field['omit'], field['required'] = True, False
            elif mark == '~':
                field['required'] = False
            elif name == 'list':
                field['merge'] = {'map': 'kMap', 'set': 'kSet', 'atomic': 'kAtomic'}[value]
                field['keys'] = argument.split(',') if argument else []
            elif name in ('map', 'struct') and value == 'atomic':
                field['merge'] = 'kAtomic'
            elif name == 'struct' and value == 'granular':
                field['merge'] = 'kGranular'
            elif name == 'patch':
                field['patch'] = value.split(',')
                field['patch_key'] = argument
            elif name == 'default':
                field['default'] = value
            else:
                sys.exit(f'{where}: unknown mark {mark}')
        return field

    def shape(self, text):
        """The index of the shape that `text` spells; "*" has been taken off."""
        if text in self.shape_index:
            return self.shape_index[text]
        index = len(self.shapes)
        self.shape_index[text] = index
        self.shapes.append(None)  # a type may contain itself
        kind, element, type_name, go_name = self.describe(text)
        self.shapes[index] = (kind, element, type_name, go_name)
        return index

    def describe(self, text):
        text = text.lstrip('*')
        if text == '[]byte':
            return 'kBytes', None, None, '[]uint8'
        if text.startswith('[]'):
            return 'kList', self.shape(text[2:].lstrip('*')), None, ''
        if text.startswith('map['):
            return 'kMap', self.shape(text[text.index(']') + 1:].lstrip('*')), None, ''
        go_name = GO_NAMES.get(text, '.'.join(text.split('.')[-2:]))
        if text in SCALARS:
            return SCALARS[text], None, None, go_name
        if text in self.enums:
            return 'kString', None, None, go_name
        if text in self.aliases:
            target = self.aliases[text]
            kind, element, type_name, _ = self.describe(target)
            if kind == 'kList':
                kind = 'kWrappedList'
            return kind, element, type_name, go_name
        if text in self.types:
            return ('kUnion' if self.types[text]['union'] else 'kStruct'), None, text, go_name
        sys.exit(f'unknown type {text}')

    def flat(self, name):
        """(JSON name, owner type, index in it) of all fields, those of inlined types included."""
        found = []
        for index, field in enumerate(self.types[name]['fields']):
            if field['name']:
                found.append((field['name'], name, index))
            else:
                found += self.flat(self.resolve(field['type']))
        return found

    def resolve(self, text):
        text = text.lstrip('*')
        while text in self.aliases:
            text = self.aliases[text]
        return text


def quote(text):
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def main():
    tables = Tables()
    tables.read(sys.argv[1])
    names = sorted(tables.types)
    type_index = {name: index for index, name in enumerate(names)}
    fields, keys, entries, types, strings = [], [], [], [], []
    first_field = {}
    for name in names:
        first_field[name] = len(fields)
        for field in tables.types[name]['fields']:
            first_key = len(keys)
            keys += field['keys']
            flags = [name for name, on in (
                ('kPointer', field['type'].startswith('*')), ('kOmitEmpty', field['omit']),
                ('kRequired', field['required'] and field['name']), ('kPatchMerge', 'merge' in field['patch']),
                ('kPatchReplace', 'replace' in field['patch']),
                ('kPatchRetainKeys', 'retainKeys' in field['patch'])) if on]
            key_text = f'kKeys + {first_key}' if field['keys'] else 'nullptr'
            fields.append(f"  {{{quote(field['name'])}, kShapes + {tables.shape(field['type'].lstrip('*'))}, "
                          f"{field['number']}, {' | '.join(flags) or '0'}, Merge::{field['merge']}, "
                          f"{len(field['keys'])}, {key_text}, {quote(field['patch_key'])}, "
                          f"{quote(field['default'])}}},")
    for name in names:
        flat = sorted(tables.flat(name))
        own = tables.types[name]
        types.append(f"  {{{quote(name)}, kFields + {first_field[name]}, kEntries + {len(entries)}, "
                     f"{len(own['fields'])}, {len(flat)}, {str(own['atomic']).lower()}, kRoots + {type_index[name]}}},")
        entries += [f'  {{{quote(n)}, kFields + {first_field[owner] + index}}},' for n, owner, index in flat]
    roots = [f'  {{Kind::kStruct, nullptr, kTypes + {i}, {quote(".".join(name.split(".")[-2:]))}}},'
             for i, name in enumerate(names)]
    shapes = []
    for kind, element, type_name, go_name in tables.shapes:
        element_text = f'kShapes + {element}' if element is not None else 'nullptr'
        type_text = f'kTypes + {type_index[type_name]}' if type_name else 'nullptr'
        shapes.append(f'  {{Kind::{kind}, {element_text}, {type_text}, {quote(go_name)}}},')
    enums = []
    for name in sorted(tables.enums):
        enums.append(f"  {{{quote(name)}, kValues + {len(strings)}, {len(tables.enums[name])}}},")
        strings += tables.enums[name]
    with open(sys.argv[2], 'w', encoding='utf-8') as out:
        def table(kind, name, rows):
            out.write(f'{kind} {name}[] = {{\n' + '\n'.join(rows) + '\n};\n\n')
        out.write('// Generated from facts/types.txt by facts/generate_types.py.\n'
                  '#include "control/schema/types.h"\n\nnamespace fairlead::schema {\nnamespace {\n\n'
                  f'extern const Shape kShapes[{len(shapes)}];\nextern const Shape kRoots[{len(roots)}];\n'
                  f'extern const Type kTypes[{len(types)}];\n\n')
        table('constexpr std::string_view', 'kKeys', [f'  {quote(k)},' for k in keys])
        table('constexpr Field', 'kFields', fields)
        table('constexpr FieldEntry', 'kEntries', entries)
        table('const Shape', 'kShapes', shapes)
        table('const Shape', 'kRoots', roots)
        table('const Type', 'kTypes', types)
        table('constexpr std::string_view', 'kValues', [f'  {quote(s)},' for s in strings])
        table('constexpr Enum', 'kEnums', enums)
        out.write(f'}}  // namespace\n\nstd::span<const Type> all_types() {{\n  return {{kTypes, {len(names)}}};\n}}\n\n'
                  f'std::span<const Enum> all_enums() {{\n  return {{kEnums, {len(enums)}}};\n}}\n\n'
                  '}  // namespace fairlead::schema\n')


main()
