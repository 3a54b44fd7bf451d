// node llama_board.mjs URL CHROMIUM PRESET FOLDER [NAME]: drives LLaMA Board as a person does, and prints what it saw as JSON.
// With NAME it trains into saves/…/NAME. Screenshots go to FOLDER.
import { chromium } from "playwright-core";

const [url, executablePath, preset, folder, name] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.setDefaultTimeout(240_000);
const seen = { errors: [], outside: [] };
page.on("pageerror", (error) => seen.errors.push(String(error)));
await page.route("**", (route) => {
  if (new URL(route.request().url()).hostname === new URL(url).hostname) return route.continue();
  seen.outside.push(new URL(route.request().url()).hostname);
  return route.abort();
});
const shot = (title) => page.screenshot({ path: `${folder}/${title}.png`, fullPage: true });
const button = (text) => page.getByRole("button", { name: text, exact: true }).first();
const value = (label) => page.getByLabel(label).first().inputValue(); // its name has the explanation below it too

const started = Date.now();
const answer = await page.goto(url);
seen.status = answer.status();
await page.getByLabel("Model name").first().waitFor();
await page.waitForFunction(() => !document.querySelector(".generating, .pending"), undefined, { timeout: 60_000 }).catch(() => {});
seen.seconds = (Date.now() - started) / 1000;
await shot("board-1280");

const path = page.getByLabel("Config path").first();
await path.fill(`${preset}.yaml`);
await path.press("Enter");
await button("Load arguments").click();
await page.getByText("Arguments have been restored").or(page.getByText("Arguments have been loaded")).first().waitFor();
await page.waitForTimeout(2000); // the model's change event fills its path and template
seen.model = await value("Model name");
seen.path = await value("Model path");
seen.template = await value("Chat template");
seen.learningRate = await value("Learning rate");
await page.getByText("pintune", { exact: true }).first().waitFor();

await button("Preview dataset").click();
await page.getByText("Answer the question from the table", { exact: false }).first().waitFor();
await shot("data-1280");
await button("Close").click();

await button("Preview command").click();
await page.getByText("llamafactory-cli train", { exact: false }).first().waitFor();
seen.command = (await page.locator("pre, code").allInnerTexts()).find((text) => text.includes("llamafactory-cli"));
await shot("command-1280");
await page.setViewportSize({ width: 420, height: 900 });
await shot("board-420");
await page.setViewportSize({ width: 1280, height: 900 });

if (name) {
  const output = page.getByLabel("Output dir").first();
  await output.fill(name);
  await output.press("Enter");
  await button("Start").click();
  await page.getByText(/Running \d+\/\d+/).first().waitFor({ timeout: 900_000 }).catch(() => {});
  await shot("training-1280");
  await page.getByText("Finished.", { exact: false }).first().waitFor({ timeout: 1_800_000 });
  const curve = page.locator("img[src^='data:image'], .plot-container, [data-testid='matplotlib'] img").first();
  await curve.waitFor({ timeout: 30_000 });
  seen.curve = await curve.evaluate((image) => [image.naturalWidth ?? 0, image.naturalHeight ?? 0]);
  await shot("trained-1280");
}
console.log(JSON.stringify(seen));
await browser.close();
