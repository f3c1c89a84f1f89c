// Bundles the page of `recurra look` into the package, where the wheel finds it: `npm ci && npm run build`.
// With a folder as argument it writes there instead.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const into = process.argv[2] ?? `${here}../src/recurra/look/page/assets`;

const common = { minify: true, charset: "utf8", legalComments: "none", logLevel: "warning", absWorkingDir: here };
await build({ ...common, entryPoints: ["src/main.ts"], outfile: `${into}/page.js`, bundle: true, format: "iife", target: "es2022" });
await build({ ...common, entryPoints: ["src/page.css"], outfile: `${into}/page.css` });
