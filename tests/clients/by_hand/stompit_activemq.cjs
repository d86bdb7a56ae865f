// stompit: stories of what ActiveMQ has beyond the specification. It runs against ActiveMQ too (with
// schedulerSupport="true"). Usage: node stompit_activemq.cjs PORT
const { randomBytes } = require('node:crypto');
const stompit = require('stompit');

const port = Number(process.argv[2] ?? 61613);
const QUIET = 400; // milliseconds; a message that should not come would be there by then
let failed = 0;

function check(what, ok, seen) {
  console.log(`${ok ? 'ok   ' : 'FAIL '}${what}${ok || seen === undefined ? '' : `: ${JSON.stringify(seen)}`}`);
  failed += ok ? 0 : 1;
}

const random = () => randomBytes(6).toString('hex');
const name = (kind) => `/${kind}/stompit.${random()}`;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const bodies = (found) => found.map((each) => each.body);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const times = async (n, what) => { // one after the other
  const found = [];
  for (let i = 0; i < n; i++) found.push(await what(i));
  return found;
};

const connectOnce = (headers) => new Promise((resolve, reject) =>
  stompit.connect({ host: '127.0.0.1', port, connectHeaders: headers }, (error, client) =>
    error ? reject(error) : resolve(client)));

async function connect(version, more = {}) {
  const headers = { 'accept-version': version, host: 'localhost', login: 'u', passcode: 'p', ...more };
  for (;;) {
    try {
      return await connectOnce(headers);
    } catch { // ActiveMQ frees a client-id a moment after the link has gone
      await wait(100);
    }
  }
}

const leave = (client) => new Promise((resolve) => client.disconnect(resolve));

const send = (client, headers, body) => new Promise((resolve, reject) => {
  client.send(headers, { onReceipt: resolve, onError: reject }).end(body);
});

const read = (message) => new Promise((resolve, reject) =>
  message.readString('utf-8', (error, text) => (error ? reject(error) : resolve(text))));

// Send any frame; wait for its receipt.
const ask = (client, command, headers) => new Promise((resolve, reject) => {
  client.sendFrame(command, headers, { onReceipt: resolve, onError: reject }).end();
});

// Subscribe; next() waits for a message, quiet() is true if none comes.
async function subscribe(client, headers) {
  const waiting = [], arrived = [];
  const id = headers.id ?? random();
  const subscription = client.subscribe({ id, ...headers }, async (error, message) => {
    const found = error ?? { message, headers: message.headers, body: await read(message) };
    waiting.length ? waiting.shift()(found) : arrived.push(found);
  });
  await ask(client, 'BEGIN', { transaction: id }); // stompit's SUBSCRIBE takes no receipt
  const next = () => arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));
  const quiet = async () => { await wait(QUIET); return arrived.length === 0; };
  return { next, quiet, subscription, id, left: () => arrived.splice(0) };
}

async function durable(version) {
  const destination = name('topic'), client = { 'client-id': `stompit-${random()}` };
  const news = { destination, id: 'd', ack: 'client-individual', 'activemq.subscriptionName': 'news' };
  let reader = await connect(version, client);
  await subscribe(reader, news);
  await leave(reader);
  const writer = await connect(version);
  await times(3, (n) => send(writer, { destination, persistent: 'true' }, `missed ${n}`));
  reader = await connect(version, client);
  const again = await subscribe(reader, news);
  const missed = await times(3, again.next);
  check(`${version} durable: what was missed`, same(bodies(missed), ['missed 0', 'missed 1', 'missed 2']), bodies(missed));
  missed.forEach((each) => reader.ack(each.message));
  again.subscription.unsubscribe();
  await ask(reader, 'UNSUBSCRIBE', { id: 'd', destination, 'activemq.subscriptionName': 'news' });
  await send(writer, { destination, persistent: 'true' }, 'after its end');
  await leave(reader);
  reader = await connect(version, client);
  check(`${version} durable: nothing from after its end`, await (await subscribe(reader, news)).quiet());
  await leave(reader);
  await leave(writer);
}

async function selector(version) {
  const destination = name('queue'), a = await connect(version);
  for (const [color, amount] of [['red', '50'], ['red', '150'], ['blue', '500'], ['red', '1000']]) {
    await send(a, { destination, color, amount }, `${color} ${amount}`);
  }
  const chosen = await subscribe(a, { destination, selector: "color = 'red' AND amount > 100" });
  const found = bodies(await times(2, chosen.next));
  check(`${version} selector: what it means, in order`, same(found, ['red 150', 'red 1000']) && await chosen.quiet(), found);
  const rest = await subscribe(a, { destination });
  check(`${version} selector: the rest is still there`, same(bodies(await times(2, rest.next)), ['red 50', 'blue 500']));
  await leave(a);
}

async function request(version) {
  const destination = name('queue'), asks = await connect(version), answers = await connect(version);
  const replies = await subscribe(asks, { destination: '/temp-queue/answers' });
  const questions = await subscribe(answers, { destination });
  await send(asks, { destination, 'reply-to': '/temp-queue/answers', 'correlation-id': 'c-1' }, '2 + 2');
  const question = await questions.next();
  const to = question.headers['reply-to'];
  check(`${version} request: reply-to is what others may use`, to.startsWith('/remote-temp-queue/'), to);
  await send(answers, { destination: to, 'correlation-id': question.headers['correlation-id'] }, '4');
  const answer = await replies.next();
  check(`${version} request: answered`, answer.body === '4' && answer.headers['correlation-id'] === 'c-1', answer);
  await leave(asks);
  await leave(answers);
}

async function deadLetters(version) {
  const destination = name('queue'), mark = random(), a = await connect(version);
  await send(a, { destination, mark, persistent: 'true' }, 'poison');
  const jobs = await subscribe(a, { destination, ack: 'client-individual' });
  const refused = await jobs.next();
  a.nack(refused.message);
  const letters = await subscribe(a, { destination: '/queue/ActiveMQ.DLQ', selector: `mark = '${mark}'` });
  const dead = await letters.next();
  check(`${version} dead letter: is in ActiveMQ.DLQ`, dead.body === 'poison' && dead.headers.destination === '/queue/ActiveMQ.DLQ', dead);
  check(`${version} dead letter: says where it was`, dead.headers['original-destination'] === destination, dead);
  check(`${version} dead letter: its own id`, dead.headers['message-id'] === refused.headers['message-id'], dead);
  await leave(a);
}

async function browse(version) {
  const destination = name('queue'), a = await connect(version);
  await times(3, (n) => send(a, { destination }, `message ${n}`));
  const looking = await subscribe(a, { destination, browser: 'true' });
  const seen = await times(4, looking.next);
  check(`${version} browse: all, and the end is marked`, seen[3].headers.browser === 'end' && seen[3].body === '', seen[3]);
  looking.subscription.unsubscribe();
  const taking = await subscribe(a, { destination });
  check(`${version} browse: nothing was taken`, same(bodies(await times(3, taking.next)), bodies(seen.slice(0, 3))));
  await leave(a);
}

async function delayed(version) {
  const destination = name('queue'), a = await connect(version), begun = Date.now();
  const jobs = await subscribe(a, { destination });
  await send(a, { destination, AMQ_SCHEDULED_DELAY: '1500', persistent: 'true' }, 'later');
  await send(a, { destination }, 'now');
  const found = bodies(await times(2, jobs.next)), after = Date.now() - begun;
  check(`${version} delay`, same(found, ['now', 'later']) && after > 1000 && after < 3500, [found, after]);
  await leave(a);
}

async function several(version) {
  const root = name('topic'), queue = name('queue'), a = await connect(version);
  const deep = await subscribe(a, { destination: `${root}.>` }), taker = await subscribe(a, { destination: queue });
  await send(a, { destination: `${root}.x.y` }, 'deep');
  check(`${version} wildcard: says the concrete one`, (await deep.next()).headers.destination === `${root}.x.y`);
  await send(a, { destination: `${queue},${root}.z` }, 'both');
  check(`${version} composite: a copy for each`, same(bodies([await deep.next(), await taker.next()]), ['both', 'both']));
  await leave(a);
}

async function exclusive(version) {
  const headers = { destination: name('queue'), ack: 'client-individual', 'activemq.exclusive': 'true' };
  const a = await connect(version), b = await connect(version), writer = await connect(version);
  const first = await subscribe(a, headers), second = await subscribe(b, headers);
  await times(4, (n) => send(writer, { destination: headers.destination }, `job ${n}`));
  const held = await times(4, first.next);
  check(`${version} exclusive: one gets all`, same(bodies(held), ['job 0', 'job 1', 'job 2', 'job 3']) && await second.quiet(), bodies(held));
  held.slice(0, 2).forEach((each) => a.ack(each.message));
  await leave(a);
  const rest = await times(2, second.next);
  check(`${version} exclusive: then the next one`, same(bodies(rest), ['job 2', 'job 3']), bodies(rest));
  rest.forEach((each) => b.ack(each.message));
  await leave(b);
  await leave(writer);
}

async function groups(version) {
  const destination = name('queue'), writer = await connect(version);
  const clients = [await connect(version), await connect(version)];
  const consumers = await times(2, (n) => subscribe(clients[n], { destination }));
  for (const body of ['a0', 'b0', 'a1', 'b1', 'b2', 'a2']) await send(writer, { destination, JMSXGroupID: body[0] }, body);
  await wait(QUIET);
  const got = consumers.map((each) => bodies(each.left()).join(' ')).sort();
  check(`${version} groups: a consumer for each, in order`, same(got, ['a0 a1 a2', 'b0 b1 b2']), got);
  for (const client of [...clients, writer]) await leave(client);
}

async function main() {
  const stories = { durable, selector, request, deadLetters, browse, delayed, several, exclusive, groups };
  for (const version of ['1.1', '1.2']) {
    for (const [title, story] of Object.entries(stories)) {
      const told = await Promise.race([story(version).then(() => true, (error) => error), wait(30_000)]);
      if (told !== true) check(`${version} ${title} ends`, false, String(told));
    }
  }
  process.exit(failed ? 1 : 0);
}

main();
