// Shows the OpenAPI document. Text only ever enters the page as text nodes.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function node(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function resolve(api, schema) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? { name, schema: (api.components.schemas || {})[name] || {} } : { name: "", schema: schema || {} };
}

function typeOf(api, given) {
  const { name, schema } = resolve(api, given);
  if (name) return name;
  if (schema.type === "array") return "[" + typeOf(api, schema.items) + "]";
  const choices = schema.oneOf || schema.anyOf;
  if (choices) return choices.map((choice) => typeOf(api, choice)).join(" | ");
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type || "any";
  return schema.enum ? schema.enum.map((value) => JSON.stringify(value)).join(" | ") : type;
}

function table(heads, rows) {
  const head = node("tr", {}, ...heads.map((text) => node("th", { textContent: text })));
  const lines = rows.map((cells) => node("tr", {}, ...cells.map((cell) => node("td", {}, cell))));
  return node("table", {}, node("thead", {}, head), node("tbody", {}, ...lines));
}

function code(text) {
  return node("code", { textContent: text });
}

function schemaView(api, given, depth = 0, seen = new Set()) {
  const { name, schema } = resolve(api, given);
  if (schema.type === "array" && schema.items) return schemaView(api, schema.items, depth, seen);
  if (!schema.properties || depth > 4 || seen.has(name)) return node("p", {}, code(typeOf(api, given)));
  const below = new Set(seen).add(name);
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties).map(([key, property]) => {
    const inner = resolve(api, property.type === "array" ? property.items : property);
    const nested = inner.schema.properties ? node("details", {}, node("summary", {}, code(inner.name || "object")), schemaView(api, inner.name ? { $ref: "#/" + inner.name } : inner.schema, depth + 1, below)) : null;
    const about = node("div", {}, property.description || "", nested);
    return [code(key + (required.has(key) ? "" : "?")), code(typeOf(api, property)), about];
  });
  return table(["field", "type", ""], rows);
}

function contentView(api, content) {
  return Object.entries(content || {}).map(([type, media]) =>
    node("div", {}, node("p", { className: "quiet", textContent: type }), media.schema ? schemaView(api, media.schema) : null));
}

function operationView(api, path, method, operation) {
  const view = node("details", { className: "operation" },
    node("summary", {}, node("span", { className: "method " + method, textContent: method.toUpperCase() }),
      code(path), node("span", { className: "quiet", textContent: "  " + (operation.summary || "") })));
  view.dataset.text = [method, path, operation.summary, operation.description].join(" ").toLowerCase();
  view.addEventListener("toggle", () => {
    if (!view.open || view.dataset.filled) return;
    view.dataset.filled = "1";
    if (operation.description) view.append(node("p", { textContent: operation.description }));
    if (operation.parameters) {
      view.append(node("h3", { textContent: "Parameters" }), table(["name", "in", ""], operation.parameters.map((parameter) =>
        [code(parameter.name + (parameter.required ? "" : "?")), parameter.in, parameter.description || ""])));
    }
    if (operation.requestBody) view.append(node("h3", { textContent: "Request" }), ...contentView(api, operation.requestBody.content));
    for (const [status, response] of Object.entries(operation.responses || {})) {
      view.append(node("h3", { textContent: status + "  " + (response.description || "") }), ...contentView(api, response.content));
    }
  });
  return view;
}

function show(api) {
  document.getElementById("title").textContent = api.info.title + " " + api.info.version;
  document.getElementById("about").textContent = api.info.description || "";
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationView(api, path, method, item[method]));
    }
  }
  const sections = [...groups].map(([tag, views]) => node("section", {}, node("h2", { textContent: tag }), ...views));
  document.getElementById("operations").replaceChildren(...sections);
  document.getElementById("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const section of sections) {
      let any = false;
      for (const view of section.querySelectorAll(".operation")) {
        view.hidden = !view.dataset.text.includes(wanted);
        any = any || !view.hidden;
      }
      section.hidden = !any;
    }
  });
}

fetch("api/v1/openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch(() => { document.getElementById("operations").textContent = "The document could not be loaded."; });
