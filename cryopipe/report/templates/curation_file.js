// The file of decisions, curation.yaml: writing, and reading of the YAML that the page and `cryopipe curate` write.

const KEYS = {
  accept: ["accept"], reject: ["reject"], merge: ["merge"], split: ["split", "into"], rename: ["rename", "name"],
  note: ["note", "text"], choose: ["choose", "above"], select: ["select", "particles", "as"], bad_tomogram: ["bad_tomogram"],
};
const TYPES_OF_KEYS = {
  accept: "cluster", reject: "cluster", split: "cluster", rename: "cluster", note: "cluster", choose: "cluster",
  merge: "clusters", from_clusters: "clusters", into: "parts", name: "text", text: "text", select: "text", bad_tomogram: "text",
  above: "number", score: "score", particles: "texts", as: "purpose",
};

const ESCAPES = { 0: "\0", a: "\x07", b: "\b", t: "\t", n: "\n", v: "\v", f: "\f", r: "\r", e: "\x1b", N: "\x85", _: "\xa0", L: "\u2028", P: "\u2029" };

export function writeCuration(run, decisions) {
  const lines = ["# Decisions of a cryopipe report", "run: " + JSON.stringify(run)];
  if (!decisions.length) return [...lines, "decisions: []", ""].join("\n");
  return [...lines, "decisions:", ...decisions.map((decision) => "  - " + flow(decision)), ""].join("\n");
}

function flow(value) {
  if (Array.isArray(value)) return "[" + value.map(flow).join(", ") + "]";
  if (value && typeof value === "object") return "{" + Object.entries(value).map(([key, one]) => key + ": " + flow(one)).join(", ") + "}";
  return quoted(value);
}

// JSON is YAML but for a few characters that YAML takes for line breaks, and numbers such as 1e-7 without a point.
function quoted(value) {
  if (typeof value === "number") {
    const text = String(value);
    return text.includes("e") && !text.includes(".") ? text.replace("e", ".0e") : text;
  }
  return JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));
}

// Returns { run, decisions }; throws an Error that names the line.
export function readCuration(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  let run = null, decisions = null;
  for (let n = 0; n < lines.length; n++) {
    if (/^\s*(#.*)?$/.test(lines[n]) || lines[n] === "---") continue;
    const top = /^(\w+):\s*(.*)$/.exec(lines[n]);
    if (top && top[1] === "run") {
      run = String(parseFlow(withoutComment(top[2]), n + 1));
      continue;
    }
    if (top && top[1] === "decisions") {
      decisions = [];
      const rest = withoutComment(top[2]);
      if (rest && rest !== "[]") throw problem(n + 1, "decisions is not a list of lines that begin with a dash");
      continue;
    }
    const item = /^(\s*)- +(.*)$/.exec(lines[n]);
    if (!item || !decisions) throw problem(n + 1, "“" + shortened(lines[n].trim()) + "” is not understood");
    const first = n + 1, parts = [item[2]];
    while (continues(lines, n + 1, item[1].length)) parts.push(lines[++n].trim());
    decisions.push(checked(parseItem(parts, first), first));
  }
  if (!run) throw new Error("the file does not name the run that the decisions belong to");
  if (!decisions) throw new Error("the file contains no decisions");
  return { run, decisions };
}

// Whether line n, or the next that is not empty, belongs to the item before: it is further in than the item's dash.
function continues(lines, n, dash) {
  while (n < lines.length && lines[n].trim() === "") n++;
  return n < lines.length && /^\s*/.exec(lines[n])[0].length > dash;
}

function parseItem(parts, line) {
  if (parts[0].startsWith("{")) return parseFlow(parts.join("\n"), line);
  return Object.fromEntries(parts.map(function (part) { // one key a line
    const pair = /^(\w+):\s*(.*)$/.exec(part);
    if (!pair) throw problem(line, "“" + shortened(part) + "” is not understood");
    return [pair[1], parseFlow(pair[2], line)];
  }));
}

// A value of YAML's flow style: mapping, list, quoted or plain scalar.
function parseFlow(text, line) {
  let at = 0;
  const result = value(false);
  skip();
  if (at < text.length && text[at] !== "#") throw problem(line, "“" + shortened(text.slice(at)) + "” is not understood");
  return result;

  function skip() { while (at < text.length && /\s/.test(text[at])) at++; }
  function value(inside) {
    skip();
    const start = text[at];
    if (start === "{") return mapping();
    if (start === "[") return sequence();
    if (start === '"') return doubleQuoted();
    if (start === "'") return singleQuoted();
    return plain(inside);
  }
  function mapping() {
    const found = {};
    at++;
    for (skip(); text[at] !== "}"; skip()) {
      if (at >= text.length) throw problem(line, "} is missing");
      const key = /^["']?(\w+)["']?\s*:\s*/.exec(text.slice(at, at + 200));
      if (!key) throw problem(line, "“" + shortened(text.slice(at)) + "” is not a key");
      at += key[0].length;
      found[key[1]] = value(true);
      separator("}");
    }
    at++;
    return found;
  }
  function sequence() {
    const found = [];
    at++;
    for (skip(); text[at] !== "]"; skip()) {
      if (at >= text.length) throw problem(line, "] is missing");
      found.push(value(true));
      separator("]");
    }
    at++;
    return found;
  }
  function separator(end) {
    skip();
    if (text[at] === ",") at++;
    else if (text[at] !== end) throw problem(line, "“" + shortened(text.slice(at)) + "” is not understood");
  }
  function doubleQuoted() {
    let found = "";
    for (at++; text[at] !== '"'; at++) {
      if (at >= text.length) throw problem(line, 'the closing " is missing');
      if (text[at] === "\n") found += fold();
      else if (text[at] === "\\") found += escaped();
      else found += text[at];
    }
    at++;
    return found;
  }
  function escaped() {
    const letter = text[++at], length = { x: 2, u: 4, U: 8 }[letter];
    if (letter === "\n") return "";
    if (!length) return ESCAPES[letter] ?? letter;
    const code = parseInt(text.slice(at + 1, at + 1 + length), 16);
    if (!(code <= 0x10ffff)) throw problem(line, "“" + shortened(text.slice(at - 1)) + "” is not a character");
    at += length;
    return letter === "U" ? String.fromCodePoint(code) : String.fromCharCode(code);
  }
  function singleQuoted() {
    let found = "";
    for (at++; text[at] !== "'" || text[at + 1] === "'"; at++) {
      if (at >= text.length) throw problem(line, "the closing ' is missing");
      if (text[at] === "\n") found += fold();
      else found += text[at];
      if (text[at] === "'") at++;
    }
    at++;
    return found;
  }
  // A line break in a quoted text is a space; each empty line after it is a line break.
  function fold() {
    let breaks = 0;
    while (text[at + 1] === "\n") { at++; breaks++; }
    return breaks ? "\n".repeat(breaks) : " ";
  }
  function plain(inside) {
    const end = inside ? /^[^,\]}]*/.exec(text.slice(at))[0] : text.slice(at).replace(/\s+#.*$/, "");
    at += end.length;
    const word = end.trim().replace(/\s*\n\s*/g, " ");
    if (/^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/.test(word)) return Number(word);
    if (!word) throw problem(line, "a value is missing");
    return word;
  }
}

function checked(decision, line) {
  const kind = Object.keys(KEYS).find((key) => key in decision);
  if (!kind) throw problem(line, "“" + shortened(JSON.stringify(decision)) + "” names no decision");
  const allowed = [...KEYS[kind], ...({ choose: ["score"], select: ["from_clusters"] }[kind] || [])];
  for (const key of KEYS[kind]) if (!(key in decision)) throw problem(line, kind + " lacks the key " + key);
  for (const [key, value] of Object.entries(decision)) {
    if (!allowed.includes(key)) throw problem(line, kind + " has the unknown key " + key);
    if (typeof value === "number" && TYPES_OF_KEYS[key] === "text") decision[key] = String(value);
    if (!fits(TYPES_OF_KEYS[key], decision[key])) throw problem(line, key + ": “" + shortened(JSON.stringify(value)) + "” cannot be used");
  }
  return decision;
}

function fits(type, value) {
  const cluster = (one) => Number.isInteger(one) && one >= 1 && one <= 99999;
  switch (type) {
    case "cluster": return cluster(value);
    case "clusters": return Array.isArray(value) && value.every((one) => one === 0 || cluster(one));
    case "parts": return Number.isInteger(value) && value >= 2 && value <= 20;
    case "number": return Number.isFinite(value);
    case "text": return typeof value === "string" && value.trim() !== "";
    case "texts": return Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string");
    case "score": return ["posterior", "pick", "template"].includes(value);
    default: return ["accept", "reject", "label", "split"].includes(value);
  }
}

function withoutComment(text) { return text.replace(/\s+#.*$/, "").trim(); }
function shortened(text) { return text.length > 60 ? text.slice(0, 57) + "..." : text; }
function problem(line, text) { return new Error("line " + line + ": " + text); }
