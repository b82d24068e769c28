// Prints what the parser of AsyncAPI finds in a document, as JSON; fails where that is an error.
const { readFileSync } = require("node:fs");
const { DiagnosticSeverity, Parser } = require("@asyncapi/parser");

// Advice, and what a newer version of AsyncAPI there is.
const LEFT_OUT = ["asyncapi-latest-version"];

(async () => {
  const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
  const found = diagnostics.filter((one) => !LEFT_OUT.includes(one.code));
  console.log(JSON.stringify(found.map((one) => [one.code, one.message, one.path.join("/")])));
  process.exitCode = found.some((one) => one.severity === DiagnosticSeverity.Error) ? 1 : 0;
})();
