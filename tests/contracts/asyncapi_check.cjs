// Gives a document to the official AsyncAPI parser: node asyncapi_check.cjs FOLDER_WITH_NODE_MODULES DOCUMENT
// Prints a JSON list of what it finds, and what the Avro parser finds in each Avro schema.
const { createRequire } = require("module");
const { readFileSync } = require("fs");

const [folder, file] = process.argv.slice(2);
const load = createRequire(`${folder}/`);
const { Parser } = load("@asyncapi/parser");
const { AvroSchemaParser } = load("@asyncapi/avro-schema-parser");

async function main() {
  const text = readFileSync(file, "utf8");
  const avro = AvroSchemaParser();
  const found = [];
  // The parser itself turns Avro into JSON Schema without looking whether it is Avro.
  for (const [name, each] of Object.entries(JSON.parse(text).components.schemas)) {
    if (each.schemaFormat) {
      const wrong = await avro.validate({ data: each.schema, asyncapi: {}, path: [], schemaFormat: each.schemaFormat });
      found.push(...(wrong ?? []).map((one) => `components.schemas.${name}: ${one.message}`));
    }
  }
  const parser = new Parser();
  parser.registerSchemaParser(avro);
  const { document, diagnostics } = await parser.parse(text, { source: file });
  found.push(...diagnostics.map((one) => `${one.path.join(".")}: ${one.message}`));
  if (!document && found.length === 0) found.push("no document");
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
