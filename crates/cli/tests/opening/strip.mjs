// Takes the types out of the TypeScript of a folder, and puts what is left into another.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import tsBlankSpace from "ts-blank-space";

const [folder, into] = process.argv.slice(2);
for (const name of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
  const text = tsBlankSpace(readFileSync(join(folder, name), "utf8"), (node) => {
    throw new Error(`${name}: ${node.getText()}: more than a type`);
  });
  const file = join(into, name.replace(".ts", ".mjs"));
  writeFileSync(file, text.replaceAll('.ts"', '.mjs"'));
}
