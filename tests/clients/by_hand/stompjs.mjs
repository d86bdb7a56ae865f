// @stomp/stompjs over plain TCP: stories of a queue's life. Usage: node stompjs.mjs PORT
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { Client, Versions } from '@stomp/stompjs';

const port = Number(process.argv[2] ?? 61613);
let failed = 0;

function check(what, ok) {
  console.log(`${ok ? 'ok   ' : 'FAIL '}${what}`);
  failed += ok ? 0 : 1;
}

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

function connect(version, more = {}) {
  return new Promise((resolve) => {
    const errors = [];
    const client = new Client({
      webSocketFactory: () => new Tcp(),
      stompVersions: new Versions([version]),
      connectHeaders: { login: 'user', passcode: 'secret', host: 'localhost' },
      reconnectDelay: 0,
      heartbeatIncoming: 0,
      heartbeatOutgoing: 0,
      onConnect: (frame) => resolve({ client, frame, errors }),
      onStompError: (frame) => errors.push(frame),
      ...more,
    });
    client.activate();
  });
}

function receipt(client) {
  const id = randomBytes(4).toString('hex');
  return [id, new Promise((resolve) => client.watchForReceipt(id, resolve))];
}

// Subscribe; return a function that waits for the next message.
async function subscribe(client, destination, headers = {}) {
  const waiting = [], arrived = [];
  const [id, done] = receipt(client);
  const subscription = client.subscribe(destination, (message) => {
    waiting.length ? waiting.shift()(message) : arrived.push(message);
  }, { ...headers, receipt: id });
  await done;
  const next = () => arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));
  return { next, subscription, left: () => arrived.length };
}

async function publish(client, parameters) {
  const [id, done] = receipt(client);
  client.publish({ ...parameters, headers: { ...parameters.headers, receipt: id } });
  await done;
}

for (const version of ['1.0', '1.1', '1.2']) {
  const { client, frame, errors } = await connect(version);
  check(`${version} connected`, frame.headers.version === version && frame.headers.session.length > 0);
  const queue = `/queue/js.${randomBytes(6).toString('hex')}`;
  // stompjs knows escapes in 1.2 only, and undoes them one after the other: a backslash before a letter
  // would not survive it.
  const value = version === '1.2' ? 'a:b\nc\\' : 'plain';
  await publish(client, { destination: queue, body: 'hällo 🐎', headers: { key: value } });
  const reader = await subscribe(client, queue, { ack: 'client-individual' });
  const message = await reader.next();
  check(`${version} text`, message.body === 'hällo 🐎');
  check(`${version} header`, message.headers.key === value);
  message.ack();
  await publish(client, { destination: queue, binaryBody: new Uint8Array([0, 10, 255, 0]) });
  const binary = await reader.next();
  check(`${version} bytes`, Buffer.from(binary.binaryBody).equals(Buffer.from([0, 10, 255, 0])));
  binary.ack();
  if (version !== '1.0') {
    await publish(client, { destination: queue, body: 'again' });
    const refused = await reader.next();
    refused.nack({ requeue: 'true' });
    const again = await reader.next();
    check(`${version} nack with requeue`, again.body === 'again' && again.headers.redelivered === 'true');
    again.ack();
  }
  const kept = client.begin();
  client.publish({ destination: queue, body: 'in', headers: { transaction: kept.id } });
  kept.commit();
  const undone = client.begin();
  client.publish({ destination: queue, body: 'out', headers: { transaction: undone.id } });
  undone.abort();
  const committed = await reader.next();
  check(`${version} transaction`, committed.body === 'in');
  committed.ack();
  const large = 'x'.repeat(1_000_000);
  await publish(client, { destination: queue, body: large });
  const big = await reader.next();
  check(`${version} a megabyte`, big.body === large);
  big.ack();
  for (let n = 0; n < 500; n++) client.publish({ destination: queue, body: `message ${n}` });
  let right = true;
  for (let n = 0; n < 500; n++) {
    const each = await reader.next();
    right &&= each.body === `message ${n}`;
    each.ack();
  }
  check(`${version} 500 messages in order`, right);
  check(`${version} no errors so far`, errors.length === 0);
  client.commit('never begun');
  await publish(client, { destination: queue, body: 'last' });
  check(`${version} an error is told, and the link goes on`,
    errors.length === 1 && errors[0].headers.message.includes('Invalid transaction id')
    && (await reader.next()).body === 'last');
  await client.deactivate();
}

for (const version of ['1.1', '1.2']) {
  const { client, errors } = await connect(version, { heartbeatIncoming: 300, heartbeatOutgoing: 300 });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  check(`${version} heart-beats keep an idle link`, client.connected && errors.length === 0);
  await client.deactivate();
}
process.exit(failed ? 1 : 0);
