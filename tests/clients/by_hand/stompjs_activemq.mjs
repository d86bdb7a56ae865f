// @stomp/stompjs over plain TCP: stories of what ActiveMQ has beyond the specification. It runs against
// ActiveMQ too (with schedulerSupport="true"). Usage: node stompjs_activemq.mjs PORT
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { Client, Versions } from '@stomp/stompjs';

const port = Number(process.argv[2] ?? 61613);
const QUIET = 400; // milliseconds; a message that should not come would be there by then
let failed = 0;

function check(what, ok, seen) {
  console.log(`${ok ? 'ok   ' : 'FAIL '}${what}${ok || seen === undefined ? '' : `: ${JSON.stringify(seen)}`}`);
  failed += ok ? 0 : 1;
}

// What the brokers say differently.
const note = (what, value) => console.log(`     ${what}: ${JSON.stringify(value)}`);
const random = () => randomBytes(6).toString('hex');
const name = (kind) => `/${kind}/js.${random()}`;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const bodies = (messages) => messages.map((each) => each.body);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const times = async (n, what) => { // one after the other
  const found = [];
  for (let i = 0; i < n; i++) found.push(await what(i));
  return found;
};

// The least of a WebSocket that stompjs needs, over a TCP socket.
class Tcp {
  constructor() {
    this.readyState = 0;
    this.binaryType = 'arraybuffer';
    this.socket = net.connect(port, '127.0.0.1', () => {
      this.readyState = 1;
      this.onopen?.({});
    });
    this.socket.setNoDelay(true);
    this.socket.on('data', (data) => this.onmessage?.({ data: new Uint8Array(data).buffer }));
    this.socket.on('close', () => {
      this.readyState = 3;
      this.onclose?.({ code: 1000, reason: '', wasClean: true });
    });
    this.socket.on('error', (error) => this.onerror?.(error));
  }
  get url() { return `tcp://127.0.0.1:${port}`; }
  send(data) { this.socket.write(typeof data === 'string' ? data : new Uint8Array(data)); }
  close() { this.socket.end(); }
}

class Link {
  static open(version, clientId) {
    return new Promise((resolve) => {
      const link = new Link();
      link.client = new Client({
        webSocketFactory: () => new Tcp(),
        stompVersions: new Versions([version]),
        connectHeaders: { login: 'user', passcode: 'secret', host: 'localhost', ...(clientId && { 'client-id': clientId }) },
        reconnectDelay: 100, // ActiveMQ frees a client-id a moment after its RECEIPT of DISCONNECT
        heartbeatIncoming: 0,
        heartbeatOutgoing: 0,
        onConnect: () => resolve(link),
        onStompError: (frame) => link.refused.get(frame.headers['receipt-id'])?.(frame),
      });
      link.refused = new Map();
      link.client.activate();
    });
  }

  // Do something with a receipt; return the RECEIPT, or the ERROR instead.
  ask(what) {
    const receipt = random();
    return new Promise((resolve) => {
      this.client.watchForReceipt(receipt, resolve);
      this.refused.set(receipt, resolve);
      what(receipt);
    });
  }

  // Subscribe; next() waits for a message, quiet() is true if none comes, answer is the RECEIPT or ERROR.
  async subscribe(destination, headers = {}) {
    const waiting = [], arrived = [];
    let subscription;
    const answer = await this.ask((receipt) => {
      subscription = this.client.subscribe(destination, (message) => {
        waiting.length ? waiting.shift()(message) : arrived.push(message);
      }, { ...headers, receipt });
    });
    const next = () => arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));
    const quiet = async () => { await wait(QUIET); return arrived.length === 0; };
    const end = (more = {}) => this.ask((receipt) => this.client.unsubscribe(subscription.id, { ...more, receipt }));
    return { next, quiet, end, answer, left: () => arrived.splice(0), id: subscription.id };
  }

  publish(destination, body, headers = {}) {
    return this.ask((receipt) => this.client.publish({ destination, body, headers: { ...headers, receipt } }));
  }

  leave() { return this.client.deactivate(); }
}

async function durable(version) {
  const topic = name('topic'), clientId = `js-${random()}`;
  const headers = { 'activemq.subscriptionName': 'news', id: 'd', ack: 'client-individual' };
  const writer = await Link.open(version);
  let reader = await Link.open(version, clientId);
  let news = await reader.subscribe(topic, headers);
  await writer.publish(topic, 'while there');
  const first = await news.next();
  check(`${version} durable: while there`, first.body === 'while there');
  first.ack();
  await reader.leave();
  await times(3, (n) => writer.publish(topic, `missed ${n}`, { persistent: 'true' }));
  reader = await Link.open(version, clientId);
  news = await reader.subscribe(topic, headers);
  const missed = await times(3, news.next);
  check(`${version} durable: what was missed`, same(bodies(missed), ['missed 0', 'missed 1', 'missed 2']), bodies(missed));
  missed.forEach((each) => each.ack());
  const named = { 'activemq.subscriptionName': 'news' };
  const error = await news.end(named);
  check(`${version} durable: cannot be ended while it is attached`, error.command === 'ERROR', error);
  note(`${version} durable: error`, error.headers.message);
  check(`${version} durable: detached`, (await news.end()).command === 'RECEIPT');
  check(`${version} durable: ended`, (await news.end(named)).command === 'RECEIPT');
  await writer.publish(topic, 'after its end', { persistent: 'true' });
  const again = await reader.subscribe(topic, headers);
  check(`${version} durable: nothing from after its end`, await again.quiet());
  await again.end();
  await again.end(named);
  await reader.leave();
  await writer.leave();
}

async function selector(version) {
  const queue = name('queue');
  const a = await Link.open(version);
  for (const [color, amount] of [['red', '50'], ['red', '150'], ['blue', '500'], ['red', '1000']]) {
    await a.publish(queue, `${color} ${amount}`, { color, amount });
  }
  const chosen = await a.subscribe(queue, { selector: "color = 'red' AND amount > 100" });
  const found = bodies(await times(2, chosen.next));
  check(`${version} selector: what it means, in order`, same(found, ['red 150', 'red 1000']) && await chosen.quiet(), found);
  await chosen.end();
  const rest = await a.subscribe(queue);
  const left = bodies(await times(2, rest.next));
  check(`${version} selector: the rest is still there`, same(left, ['red 50', 'blue 500']) && await rest.quiet(), left);
  const { answer } = await a.subscribe(queue, { selector: "color = = 'red'" });
  check(`${version} selector: a bad one is an error`, answer.command === 'ERROR', answer);
  note(`${version} selector: error`, answer.headers.message);
  check(`${version} selector: the link goes on`, (await a.publish(queue, 'x')).command === 'RECEIPT');
  await a.leave();
}

async function request(version) {
  const queue = name('queue');
  const asks = await Link.open(version), answers = await Link.open(version), third = await Link.open(version);
  const replies = await asks.subscribe('/temp-queue/answers');
  const questions = await answers.subscribe(queue);
  await asks.publish(queue, '2 + 2', { 'reply-to': '/temp-queue/answers', 'correlation-id': 'c-1' });
  const question = await questions.next();
  const to = question.headers['reply-to'];
  check(`${version} request: reply-to is what others may use`, to.startsWith('/remote-temp-queue/'), to);
  await answers.publish(to, '4', { 'correlation-id': question.headers['correlation-id'] });
  const answer = await replies.next();
  check(`${version} request: answered`, answer.body === '4' && answer.headers['correlation-id'] === 'c-1', answer);
  note(`${version} request: reply-to, destination`, [to, answer.headers.destination].map((each) => each.replace(/\d.*/, '…')));
  await asks.leave();
  const late = await third.publish(to, 'too late');
  check(`${version} request: who has gone cannot be answered`, late.command === 'ERROR', late);
  note(`${version} request: error`, late.headers.message.replace(/ID:.*:|hoof-\S*/, '…'));
  await answers.leave();
  await third.leave();
}

async function deadLetters(version) {
  const queue = name('queue'), mark = random();
  const a = await Link.open(version);
  await a.publish(queue, 'poison', { mark, persistent: 'true' });
  const jobs = await a.subscribe(queue, { ack: 'client-individual' });
  const message = await jobs.next();
  check(`${version} dead letter: refused`, (await a.ask((receipt) => message.nack({ receipt }))).command === 'RECEIPT');
  const letters = await a.subscribe('/queue/ActiveMQ.DLQ', { selector: `mark = '${mark}'` });
  const dead = await letters.next();
  check(`${version} dead letter: is in ActiveMQ.DLQ`, dead.body === 'poison' && dead.headers.destination === '/queue/ActiveMQ.DLQ', dead.headers);
  check(`${version} dead letter: says where it was`, dead.headers['original-destination'] === queue, dead.headers);
  check(`${version} dead letter: its own id`, dead.headers['message-id'] === message.headers['message-id'], dead.headers);
  note(`${version} dead letter: cause`, dead.headers.dlqDeliveryFailureCause ?? null);
  await a.leave();
}

async function browse(version) {
  const queue = name('queue');
  const a = await Link.open(version);
  await times(3, (n) => a.publish(queue, `message ${n}`));
  const looking = await a.subscribe(queue, { browser: 'true' });
  const seen = await times(4, looking.next);
  check(`${version} browse: all, in order`, same(bodies(seen.slice(0, 3)), ['message 0', 'message 1', 'message 2']), bodies(seen));
  check(`${version} browse: the end is marked`, seen[3].headers.browser === 'end', seen[3].headers);
  await looking.end();
  const taking = await a.subscribe(queue);
  check(`${version} browse: nothing was taken`, same(bodies(await times(3, taking.next)), bodies(seen.slice(0, 3))));
  await a.leave();
}

async function delayed(version) {
  const queue = name('queue'), ticking = name('queue');
  const a = await Link.open(version);
  const jobs = await a.subscribe(queue);
  const begun = Date.now();
  await a.publish(queue, 'later', { AMQ_SCHEDULED_DELAY: '1500', persistent: 'true' });
  await a.publish(queue, 'now');
  check(`${version} delay: others pass`, (await jobs.next()).body === 'now');
  const later = await jobs.next(), after = Date.now() - begun;
  check(`${version} delay: comes`, later.body === 'later' && after > 1000 && after < 3500, after);
  note(`${version} delay: 1500 ms are`, after);
  await a.publish(ticking, 'tick', { AMQ_SCHEDULED_DELAY: '200', AMQ_SCHEDULED_PERIOD: '200', AMQ_SCHEDULED_REPEAT: '2' });
  const ticks = await a.subscribe(ticking);
  check(`${version} delay: repeated`, same(bodies(await times(3, ticks.next)), ['tick', 'tick', 'tick']) && await ticks.quiet());
  await a.leave();
}

async function wildcards(version) {
  const root = name('topic');
  const a = await Link.open(version);
  const one = await a.subscribe(`${root}.*`), all = await a.subscribe(`${root}.>`);
  for (const each of ['.x', '.x.y', '']) await a.publish(root + each, each);
  const message = await one.next();
  check(`${version} wildcard: * is one element`, message.headers.destination === `${root}.x` && await one.quiet(), message.headers);
  const found = (await times(3, all.next)).map((each) => each.headers.destination.replace(root, ''));
  check(`${version} wildcard: > is all, and the root`, same(found, ['.x', '.x.y', '']), found);
  await a.leave();
}

async function composite(version) {
  const queue = name('queue'), topic = name('topic'), virtual = random();
  const a = await Link.open(version);
  const taker = await a.subscribe(queue), hearer = await a.subscribe(topic);
  await a.publish(`${queue},${topic}`, 'both');
  check(`${version} composite: a copy for each`, same(bodies([await taker.next(), await hearer.next()]), ['both', 'both']));
  const consumer = await a.subscribe(`/queue/Consumer.js.VirtualTopic.${virtual}`);
  await a.publish(`/topic/VirtualTopic.${virtual}`, 'virtual');
  check(`${version} virtual topic: reaches its consumer's queue`, (await consumer.next()).body === 'virtual');
  await a.leave();
}

async function exclusive(version) {
  const queue = name('queue'), headers = { 'activemq.exclusive': 'true', ack: 'client-individual' };
  const a = await Link.open(version), b = await Link.open(version), writer = await Link.open(version);
  const first = await a.subscribe(queue, headers), second = await b.subscribe(queue, headers);
  await times(4, (n) => writer.publish(queue, `job ${n}`));
  const held = await times(4, first.next);
  check(`${version} exclusive: one gets all`, same(bodies(held), ['job 0', 'job 1', 'job 2', 'job 3']) && await second.quiet(), bodies(held));
  held.slice(0, 2).forEach((each) => each.ack());
  await a.leave();
  const rest = await times(2, second.next);
  check(`${version} exclusive: then the next one`, same(bodies(rest), ['job 2', 'job 3']), bodies(rest));
  rest.forEach((each) => each.ack());
  await b.leave();
  await writer.leave();
}

async function groups(version) {
  const queue = name('queue');
  const a = await Link.open(version), b = await Link.open(version), writer = await Link.open(version);
  const consumers = [await a.subscribe(queue), await b.subscribe(queue)];
  for (let n = 0; n < 6; n++) {
    for (const group of ['a', 'b']) await writer.publish(queue, `${group}${n}`, { JMSXGroupID: group });
  }
  await wait(QUIET);
  const got = consumers.map((each) => bodies(each.left()).join(' ')).sort();
  check(`${version} groups: a consumer for each, in order`, same(got, ['a0 a1 a2 a3 a4 a5', 'b0 b1 b2 b3 b4 b5']), got);
  await a.leave();
  await b.leave();
  await writer.leave();
}

const stories = { durable, selector, request, deadLetters, browse, delayed, wildcards, composite, exclusive, groups };
for (const version of ['1.1', '1.2']) {
  for (const [title, story] of Object.entries(stories)) {
    const told = await Promise.race([story(version).then(() => true), wait(30_000)]);
    if (!told) check(`${version} ${title} ends`, false);
  }
}
process.exit(failed ? 1 : 0);
