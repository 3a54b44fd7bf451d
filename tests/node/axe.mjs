// node axe.mjs URL CHROMIUM WIDTH [FRAME]: what axe-core finds wrong on a page, as JSON; with FRAME on the frame of that
// name alone. Waits for a heading first.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [url, executablePath, width, name] = process.argv.slice(2);
const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: Number(width), height: 900 }, bypassCSP: true });
await page.goto(url);
const ours = async () => {
  if (!name) return page.mainFrame();
  for (;;) {
    const found = page.frames().find((frame) => frame.url().includes(name));
    if (found) return found;
    await page.waitForTimeout(200);
  }
};
const frame = await ours();
await frame.locator("h1").first().waitFor();
await frame.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
await frame.evaluate(source);
const { violations, passes } = await frame.evaluate(() => window.axe.run(document));
const shown = violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((each) => each.html) }));
console.log(JSON.stringify({ violations: shown, passes: passes.length }));
await browser.close();
