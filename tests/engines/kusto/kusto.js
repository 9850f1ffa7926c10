'use strict';
// Reads a JSON object a line and answers each with a line. {rows} adds rows to AWSCloudTrail, null takes all away; the
// answer is {problems: [...]}. To {query, run}, it is {problems: [...], columns: {name: type}} and, if it shall run and there
// are no problems, {rows: [...]}.
//
// Problems are those of Microsoft's own parser and binder, with the table's columns. Execution walks the tree that they make,
// as learn.microsoft.com describes the operators. It knows what the generated queries use, and what else it meets is an error.
const fs = require('fs'), path = require('path'), vm = require('vm'), readline = require('readline');
// The package's scripts are those of a browser.
const service = path.join(process.argv[2], 'node_modules', '@kusto', 'language-service-next');
for (const file of ['bridge.min.js', 'Kusto.Language.Bridge.min.js']) {
  vm.runInThisContext(fs.readFileSync(path.join(service, file), 'utf8'), { filename: file });
}
const K = globalThis.Kusto.Language;
const tables = JSON.parse(fs.readFileSync(path.join(__dirname, 'tables.json'), 'utf8'));
const symbols = Object.entries(tables).map(([name, columns]) => {
  const listed = Object.entries(columns).map(([column, type]) => `${column}: ${type}`).join(', ');
  return new K.Symbols.TableSymbol.$ctor7(name, `(${listed})`, null);
});
const globals = K.GlobalState.Default.WithDatabase(new K.Symbols.DatabaseSymbol.ctor('workspace', symbols));

// Values: texts, numbers, booleans, null, arrays and objects; times and spans of time are BigInts of milliseconds.
class Time { constructor(at) { this.at = at; } toJSON() { return new Date(Number(this.at)).toISOString(); } }
class Span { constructor(at) { this.at = at; } }
const fail = what => { throw new Error(what); };
const number = value => (value instanceof Time || value instanceof Span ? value.at : value);
const order = (a, b) => (number(a) < number(b) ? -1 : number(a) > number(b) ? 1 : 0);
const key = value => JSON.stringify([typeof value, value instanceof Time || value instanceof Span ? String(value.at) : value]);
const fold = text => text.replace(/[A-Z]/g, letter => letter.toLowerCase()); // "only for ASCII-text" (in-operator's page)
const text = value => value === null ? '' : typeof value === 'string' ? value
  : typeof value === 'boolean' ? (value ? 'True' : 'False') : JSON.stringify(value);
const cell = (value, type) => type === 'string' ? text(value ?? null) : value == null ? null
  : type === 'datetime' ? new Time(BigInt(Date.parse(value))) : value;

// The tree. Looking at it costs more than computing, so each look is kept.
const kept = look => { const seen = new WeakMap(); return node => { if (!seen.has(node)) seen.set(node, look(node)); return seen.get(node); }; };
const kind = kept(node => Bridge.getTypeName(node).replace(/^Kusto\.Language\.Syntax\./, '').replace(/`.*/, ''));
const all = node => Array.from({ length: node.ChildCount }, (_, i) => node.GetChild(i)).filter(Boolean);
const children = kept(node => all(node).filter(child => !kind(child).startsWith('SyntaxToken')));
const tokens = kept(node => all(node).filter(child => kind(child).startsWith('SyntaxToken')).map(token => token.Text).join(' '));
const items = kept(list => all(list).map(item => (kind(item) === 'SeparatedElement' ? item.GetChild(0) : item)));
const list = node => items(children(node).find(child => kind(child) === 'SyntaxList' && child.ChildCount
  && kind(child.GetChild(0)) !== 'NamedParameter'));
const written = kept(node => node.toString().trim());
const nameOf = kept(node => written(node).replace(/^\[(["'])(.*)\1\]$/s, '$2')); // a name that may be any text
const columnsOf = type => Array.from({ length: type.Columns.Count }, (_, i) => type.Columns.getItem(i));
const names = node => columnsOf(node.ResultType).map(column => column.Name);
const operand = node => children(node).find(child => kind(child) !== 'SyntaxList');

// Scalars: value(node, row, set), set = {rows, index, serialized, sums}.
const functions = {
  not: ([a]) => (a === null ? null : !a),
  iff: ([a, b, c]) => (a === true ? b : c),
  case: values => { while (values.length > 1 && values[0] !== true) values = values.slice(2); return values[values.length > 1 ? 1 : 0]; },
  isempty: ([a]) => a === null || a === '',
  isnotnull: ([a]) => a !== null,
  isnotempty: ([a]) => !(a === null || a === ''),
  replace_string: ([a, b, c]) => text(a).split(b).join(c),
  tolower: ([a]) => text(a).toLowerCase(),
  tostring: ([a]) => text(a),
  todouble: ([a]) => (text(a).trim() === '' || Number.isNaN(Number(text(a))) ? null : Number(text(a))),
  parse_json: ([a]) => { try { return a === '' ? null : JSON.parse(a); } catch { return a; } },
  pack_array: values => values,
  coalesce: values => values.find(value => value !== null && value !== '') ?? values[values.length - 1],
  strcat: values => values.map(text).join(''),
  format_datetime: ([a, form]) => (form === 'yyyy-MM-dd HH:mm:ss' ? new Date(Number(a.at)).toISOString().slice(0, 19).replace('T', ' ') : fail(`format ${form}`)),
  strlen: ([a]) => [...text(a)].length,
  strcat_delim: ([delimiter, ...values]) => values.map(text).join(delimiter),
  array_sort_asc: ([a]) => (Array.isArray(a) ? [...a].sort(order) : null),
};
function overRows(name, args, node, row, set) {
  if (!set.serialized) fail(`${name}(): the rows are in no order`);
  const at = (argument, index) => value(argument, set.rows[index], { ...set, index });
  if (name === 'row_window_session') { // "equals or exceeds the previous session value plus" a distance, or that of a neighbour
    if (!set.sums.has(node)) {
      let first = null, before = null;
      set.sums.set(node, set.rows.map((_, i) => {
        const now = at(args[0], i);
        if (first === null || at(args[3], i) === true || now.at >= first.at + at(args[1], i).at || now.at >= before.at + at(args[2], i).at) first = now;
        before = now;
        return first;
      }));
    }
    return set.sums.get(node)[set.index];
  }
  if (name !== 'row_cumsum') {
    const index = set.index + (name === 'next' ? 1 : -1);
    if (index in set.rows) return at(args[0], index);
    return args[0].ResultType.Name === 'string' ? '' : null;
  }
  if (!set.sums.has(node)) {
    let sum = 0;
    set.sums.set(node, set.rows.map((_, i) => { sum = (at(args[1], i) === true ? 0 : sum) + at(args[0], i); return sum; }));
  }
  return set.sums.get(node)[set.index];
}
const operators = {
  '+': (a, b) => (a instanceof Time ? new Time(a.at + b.at) : a + b),
  '-': (a, b) => (a instanceof Time && b instanceof Time ? new Span(a.at - b.at) : a - b),
  '*': (a, b) => a * b, '/': (a, b) => (b === 0 ? null : a / b),
  '<': (a, b) => order(a, b) < 0, '<=': (a, b) => order(a, b) <= 0,
  '>': (a, b) => order(a, b) > 0, '>=': (a, b) => order(a, b) >= 0,
  '==': (a, b) => key(a) === key(b),
  '=~': (a, b) => fold(a) === fold(b),
  startswith: (a, b) => fold(a).startsWith(fold(b)), startswith_cs: (a, b) => a.startsWith(b),
  endswith: (a, b) => fold(a).endsWith(fold(b)), endswith_cs: (a, b) => a.endsWith(b),
  contains: (a, b) => fold(a).includes(fold(b)), contains_cs: (a, b) => a.includes(b),
  'matches regex': (a, b) => { const [, flags, pattern] = /^(?:\(\?([ims]+)\))?(.*)$/s.exec(b); return new RegExp(pattern, `u${flags ?? ''}`).test(a); },
};
const literal = kept(node => {
  const type = node.ResultType.Name;
  if (type === 'string') return String(node.LiteralValue);
  if (type === 'long' || type === 'real') return Number(node.LiteralValue.toString());
  if (type === 'bool') return written(node) === 'true';
  if (type === 'timespan') return new Span(BigInt(node.LiteralValue.getTicks().toString()) / 10000n);
  return fail(`a literal of type ${type}`);
});
function value(node, row, set) {
  const parts = children(node);
  switch (kind(node)) {
    case 'LiteralExpression': return /\(null\)$/.test(written(node)) ? null : literal(node);
    case 'ParenthesizedExpression': return value(parts[0], row, set);
    case 'NameReference': return nameOf(node) in row ? row[nameOf(node)] : fail(`no column ${nameOf(node)}`);
    case 'PrefixUnaryExpression': return tokens(node) === '-' ? -value(parts[0], row, set) : fail(`operator ${tokens(node)}`);
    case 'SimpleNamedExpression': return value(parts[1], row, set);
    case 'PathExpression':
      if (set.state && written(parts[0]) === set.state.name) return set.state.row[nameOf(parts[1])] ?? null;
      return value(parts[0], row, set)?.[nameOf(parts[1])] ?? null;
    case 'ElementExpression': return value(parts[0], row, set)?.[value(children(parts[1])[0], row, set)] ?? null;
    case 'InExpression': {
      const found = text(value(parts[0], row, set)), listed = items(children(parts[1])[0]).map(one => value(one, row, set));
      if (tokens(node) === '!in') return !listed.includes(found);
      return tokens(node) === 'in~' ? listed.some(one => fold(one) === fold(found)) : fail(`operator ${tokens(node)}`);
    }
    case 'FunctionCallExpression': {
      const name = written(parts[0]), args = items(children(parts[1])[0]);
      if (['prev', 'next', 'row_cumsum', 'row_window_session'].includes(name)) return overRows(name, args, node, row, set);
      const run = functions[name] ?? fail(`function ${name}()`);
      return run(args.map(argument => value(argument, row, set)));
    }
    case 'BinaryExpression': {
      const operator = tokens(node), left = value(parts[0], row, set);
      if (operator === 'and' && left === false) return false;
      if (operator === 'or' && left === true) return true;
      const right = value(parts[1], row, set);
      if (operator === 'and') return right === false ? false : left === null || right === null ? null : true;
      if (operator === 'or') return right === true ? true : left === null || right === null ? null : false;
      if (left === null || right === null) return null;
      return (operators[operator] ?? fail(`operator ${operator}`))(left, right);
    }
    default: return fail(`expression ${kind(node)}`);
  }
}

const distinct = values => [...new Map(values.filter(one => one !== null).map(one => [key(one), one])).values()];
const extreme = sign => values => values.filter(one => one !== null)
  .reduce((best, one) => (best === null || sign * order(one, best) > 0 ? one : best), null);
const aggregates = { max: extreme(1), min: extreme(-1), count: rows => rows.length, minif: extreme(-1), maxif: extreme(1), make_set_if: distinct };
function aggregate(node, rows) {
  if (kind(node) === 'SimpleNamedExpression') return aggregate(children(node)[1], rows);
  const [called, given] = children(node), name = written(called), args = items(children(given)[0]);
  if (functions[name]) return functions[name](args.map(argument => aggregate(argument, rows)));
  const kept = name.endsWith('if') ? rows.filter(row => value(args[args.length - 1], row, {}) === true) : rows;
  if (name === 'countif') return kept.length;
  return (aggregates[name] ?? fail(`aggregate ${name}()`))(kept.map(row => (args.length ? value(args[0], row, {}) : row)));
}

// Tables: table(node, input) -> {rows, serialized}. Nothing changes a row that there is.
let loaded = [];
function table(node, input) {
  const each = compute => {
    const set = { ...input, sums: new Map() };
    return input.rows.map((row, index) => { set.index = index; return compute(row, set); });
  };
  switch (kind(node)) {
    case 'PipeExpression': return table(children(node)[1], table(children(node)[0]));
    case 'NameReference': return written(node) === 'AWSCloudTrail' ? { rows: loaded } : fail(`table ${written(node)}`);
    case 'FilterOperator': {
      const kept = each((row, set) => value(operand(node), row, set) === true);
      return { ...input, rows: input.rows.filter((_, index) => kept[index]) };
    }
    case 'ExtendOperator': {
      const added = list(node).map(item => [nameOf(children(item)[0]), item]);
      return { ...input, rows: each((row, set) => ({ ...row, ...Object.fromEntries(added.map(([name, item]) => [name, value(item, row, set)])) })) };
    }
    case 'ProjectOperator': {
      const columns = names(node);
      return { ...input, rows: each((row, set) => Object.fromEntries(list(node).map((item, i) => [columns[i], value(item, row, set)]))) };
    }
    case 'ParenthesizedExpression': return table(children(node)[0]);
    case 'ProjectAwayOperator': {
      const left = new Set(names(node));
      return { ...input, rows: input.rows.map(row => Object.fromEntries(Object.entries(row).filter(([name]) => left.has(name)))) };
    }
    case 'UnionOperator': { // the columns of all tables; a row has null in those that its own has not
      const none = Object.fromEntries(columnsOf(node.ResultType).map(column => [column.Name, cell(null, column.Type.Name)]));
      const parts = list(node).map(part => table(part).rows);
      return { rows: [...(input ? input.rows : []), ...parts.flat()].map(row => ({ ...none, ...row })) };
    }
    case 'SortOperator': {
      const by = list(node).map(item => [children(item)[0], written(children(item)[1]) === 'asc' ? 1 : -1]);
      const keyed = each((row, set) => [by.map(([expression]) => value(expression, row, set)), row]);
      keyed.sort(([a], [b]) => by.reduce((found, [, sign], i) => found || sign * order(a[i], b[i]), 0));
      return { rows: keyed.map(([, row]) => row), serialized: true };
    }
    case 'MvExpandOperator': { // "The output isn't serialized" (serialize-operator's page)
      const [item] = list(node), named = children(item)[0], name = written(children(named)[0]);
      const index = names(node).filter(column => !(column in (input.rows[0] ?? {})) && column !== name); // with_itemindex
      return { rows: each((row, set) => value(named, row, set)
        .map((one, i) => ({ ...row, ...Object.fromEntries(index.map(column => [column, i])), [name]: one }))).flat() };
    }
    case 'ScanOperator': { // one step that every row matches, with its state: the columns of the row before
      if (!input.serialized) fail('scan: the rows are in no order');
      const steps = node.GetDescendants(K.Syntax.ScanStep);
      if (steps.Count !== 1) fail('scan with several steps');
      const step = steps.getItem(0), parts = children(step), name = written(parts.find(part => kind(part) === 'NameDeclaration'));
      const assigned = Array.from({ length: step.GetDescendants(K.Syntax.ScanAssignment).Count }, (_, i) => step.GetDescendants(K.Syntax.ScanAssignment).getItem(i));
      const added = names(node).filter(column => !(column in (input.rows[0] ?? {})));
      let state = {};
      return { serialized: true, rows: each((row, set) => {
        const full = { ...row, ...Object.fromEntries(added.map(column => [column, null])) };
        if (value(step.Condition, full, { ...set, state: { name, row: state } }) !== true) fail('scan: a row that matches no step');
        const found = assigned.map(one => [nameOf(children(one)[0]), value(children(one)[1], full, { ...set, state: { name, row: state } })]);
        state = { ...full, ...Object.fromEntries(found) };
        return state;
      }) };
    }
    case 'SummarizeOperator': {
      const clause = children(node).find(child => kind(child) === 'SummarizeByClause'), groups = new Map(), columns = names(node);
      const by = items(children(clause)[0]), counted = list(node);
      for (const row of input.rows) {
        const group = by.map(expression => value(expression, row, {})), id = group.map(key).join();
        if (!groups.has(id)) groups.set(id, { group, rows: [] });
        groups.get(id).rows.push(row);
      }
      return { rows: [...groups.values()].map(({ group, rows }) => {
        const values = [...group, ...counted.map(item => aggregate(item, rows))];
        return Object.fromEntries(columns.map((name, i) => [name, values[i]]));
      }) };
    }
    default: return fail(`operator ${kind(node)}`);
  }
}

const analyses = new Map(); // what was found of the queries that were asked last: parsing costs more than running
function analysis(query) {
  if (analyses.has(query)) return analyses.get(query);
  const code = K.KustoCode.ParseAndAnalyze(query, globals), found = code.GetDiagnostics(), problems = [];
  for (let i = 0; i < found.Count; i++) problems.push(`${found.getItem(i).Code}: ${found.getItem(i).Message}`);
  const statements = code.Syntax.GetDescendants(K.Syntax.ExpressionStatement);
  if (!problems.length && (code.Kind !== 'Query' || statements.Count !== 1)) problems.push('this is not one query');
  if (analyses.size === 100) analyses.clear();
  analyses.set(query, { code, problems, statements });
  return analyses.get(query);
}

function answer({ query, run, rows }) {
  if (rows === null) loaded = [];
  if (rows) {
    const columns = Object.entries(tables.AWSCloudTrail);
    for (const row of rows) loaded.push(Object.fromEntries(columns.map(([name, type]) => [name, cell(row[name], type)])));
  }
  if (query === undefined) return { problems: [] };
  const { code, problems, statements } = analysis(query);
  if (problems.length) return { problems };
  const columns = Object.fromEntries(columnsOf(code.ResultType).map(column => [column.Name, column.Type.Name]));
  return { problems, columns, rows: run && table(children(statements.getItem(0))[0]).rows };
}

readline.createInterface({ input: process.stdin }).on('line', line => {
  let said;
  try { said = answer(JSON.parse(line)); } catch (error) { said = { problems: [`not executed: ${error.message}`] }; }
  process.stdout.write(`${JSON.stringify(said)}\n`);
});
