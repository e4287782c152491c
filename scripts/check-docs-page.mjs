// Opens /docs of a running server in headless Chromium and uses it as a reader would. See scripts/check-docs-page.
//
// It speaks the DevTools protocol over a pipe, so that it needs nothing but Node.js.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PATIENCE_MS = 60_000

const [chromium, base, adminToken, pictures] = process.argv.slice(2)
const profile = mkdtempSync(join(tmpdir(), 'check-docs-page-'))
const browser = spawn(
  chromium,
  [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--ignore-certificate-errors',
    '--no-first-run', '--disable-background-networking', '--disable-component-update', '--remote-debugging-pipe',
    `--user-data-dir=${profile}`, 'about:blank',
  ],
  { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
)

// --- The protocol: commands are numbered, and answered in any order between events. ---

const [commands, reports] = [browser.stdio[3], browser.stdio[4]]
const pending = new Map()
const seen = { requests: [], answers: [], complaints: [] }
let lastId = 0
let session

function send(method, params = {}) {
  const id = ++lastId
  commands.write(`${JSON.stringify({ id, method, params, sessionId: session })}\0`)
  return new Promise((resolve, reject) => pending.set(id, { resolve, reject }))
}

function receive(message) {
  if (message.id !== undefined) {
    const { resolve, reject } = pending.get(message.id)
    pending.delete(message.id)
    return message.error ? reject(new Error(message.error.message)) : resolve(message.result)
  }
  note(message.method, message.params)
}

function note(event, params) {
  switch (event) {
    case 'Network.requestWillBeSent':
      seen.requests.push(params.request.url)
      break
    case 'Network.responseReceived':
      seen.answers.push(`${params.response.status} ${new URL(params.response.url).pathname}`)
      break
    case 'Runtime.consoleAPICalled':
      if (['error', 'warning', 'assert'].includes(params.type)) {
        seen.complaints.push(params.args.map((each) => each.value ?? each.description).join(' '))
      }
      break
    case 'Runtime.exceptionThrown':
      seen.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text)
      break
    case 'Log.entryAdded':
      // Violations of the content security policy are told here.
      seen.complaints.push(`${params.entry.level}: ${params.entry.text} ${params.entry.url ?? ''}`)
      break
  }
}

let unread = ''
reports.setEncoding('utf8').on('data', (text) => {
  const messages = (unread + text).split('\0')
  unread = messages.pop()
  messages.forEach((message) => receive(JSON.parse(message)))
})

// --- The page ---

async function evaluate(expression) {
  const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, returnByValue: true })
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
  return result.value
}

async function until(what, holds) {
  const end = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`it never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Waits for a button or link within what the selector finds, whose text matches, and clicks it. */
async function click(within, pattern) {
  const found = `[...document.querySelectorAll(${JSON.stringify(within)})]
    .flatMap((each) => [...each.querySelectorAll('a, button')])
    .find((each) => ${pattern}.test(each.textContent.trim()))`
  await until(`${pattern} to click`, () => evaluate(`Boolean(${found})`))
  await evaluate(`${found}.click()`)
}

async function picture(name) {
  const { data } = await send('Page.captureScreenshot', { format: 'png' })
  if (pictures) writeFileSync(join(pictures, `${name}.png`), Buffer.from(data, 'base64'))
}

/** Sends an operation's example from the page, and waits for the answer. */
async function tryOut(tag, operation, path, answer) {
  const anchor = `[id="api-1/tag/${tag.toLowerCase().replaceAll(' ', '-')}/${path}"]`
  if (!(await evaluate(`Boolean(document.querySelector(${JSON.stringify(anchor)}))`))) await click('body', `/^${tag}/`)
  await click('body', `/^${operation}/`)
  await click(anchor, '/Test Request/')
  await click('[role=dialog]', '/Send \\w+ request to/')
  await until(`${answer} from "${operation}"`, () => seen.answers.includes(answer))
  await until('the answer on the page', () => evaluate(`/\\b${answer.slice(0, 3)}\\b/.test(
    [...document.querySelectorAll('[role=dialog]')].at(-1).innerText)`))
  await picture(`try-${path.replaceAll('/', '-')}`)
  await click('body', '/^Close Client$/')
}

async function check() {
  const { targetInfos } = await send('Target.getTargets')
  const { targetId } = targetInfos.find((target) => target.type === 'page')
  session = (await send('Target.attachToTarget', { targetId, flatten: true })).sessionId
  for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await send(`${domain}.enable`)
  await send('Emulation.setDeviceMetricsOverride', { width: 1440, height: 1000, deviceScaleFactor: 1, mobile: false })
  await send('Page.navigate', { url: `${base}/docs` })

  const token = `document.querySelector('input[placeholder=Token]')`
  await until('the field for the admin token, preselected', () => evaluate(`Boolean(${token})
    && [...document.querySelectorAll('button')].some((each) => /\\badminToken$/.test(each.innerText.trim()))`))
  await picture('top')
  await until('the token in the code examples', async () => {
    // The field is drawn anew while the page settles, and forgets.
    if (await evaluate(`${token}.value === '' && (${token}.focus(), true)`)) {
      await send('Input.insertText', { text: adminToken })
    }
    return evaluate(`/Authorization: Bearer (?!YOUR_)/.test(document.body.innerText)`)
  })
  await tryOut('Devices', 'List devices', 'GET/api/devices', '200 /api/devices')
  const created = '201 /api/registration-tokens'
  await tryOut('Registration tokens', 'Create a registration token', 'POST/api/registration-tokens', created)

  const elsewhere = seen.requests.filter((url) => !url.startsWith(`${base}/`) && !/^(data|blob):/.test(url))
  if (elsewhere.length > 0) throw new Error(`the page asked elsewhere: ${elsewhere.join(', ')}`)
  if (seen.complaints.length > 0) throw new Error(`the console complains: ${seen.complaints.join('; ')}`)
}

let failure
try {
  await check()
  console.log(`/docs works: ${seen.requests.length} requests, all of them to ${base}, and nothing on the console`)
} catch (error) {
  failure = error
  await picture('failure')
  console.error(`/docs is broken: ${error.message}\nanswers: ${seen.answers.join(', ')}`)
}
const ended = new Promise((resolve) => browser.once('exit', resolve))
await send('Browser.close').catch(() => browser.kill())
await ended
rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
process.exit(failure ? 1 : 0)
