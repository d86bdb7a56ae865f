// stompit: stories of a queue's life. Usage: node stompit.cjs PORT
const { randomBytes } = require('node:crypto');
const stompit = require('stompit');

const port = Number(process.argv[2] ?? 61613);
let failed = 0;

function check(what, ok) {
  console.log(`${ok ? 'ok   ' : 'FAIL '}${what}`);
  failed += ok ? 0 : 1;
}

const connect = (headers) => new Promise((resolve, reject) =>
  stompit.connect({ host: '127.0.0.1', port, connectHeaders: headers }, (error, client) =>
    error ? reject(error) : resolve(client)));

const send = (client, headers, body) => new Promise((resolve, reject) => {
  const frame = client.send(headers, { onReceipt: resolve, onError: reject });
  frame.end(body);
});

const read = (message) => new Promise((resolve, reject) =>
  message.readString('utf-8', (error, text) => (error ? reject(error) : resolve(text))));

// Subscribe; return a function that waits for the next message.
function subscribe(client, headers) {
  const waiting = [], arrived = [];
  const subscription = client.subscribe(headers, async (error, message) => {
    const found = error ?? { message, body: await read(message) };
    waiting.length ? waiting.shift()(found) : arrived.push(found);
  });
  const next = () => arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve));
  return { next, subscription };
}

async function main() {
  for (const version of ['1.0', '1.1', '1.2']) {
    const client = await connect({ 'accept-version': version, host: 'localhost', login: 'u', passcode: 'p' });
    const destination = `/queue/stompit.${randomBytes(6).toString('hex')}`;
    await send(client, { destination, key: 'a:b\\c' }, 'hällo 🐎');
    const reader = subscribe(client, { destination, ack: 'client-individual' });
    const first = await reader.next();
    check(`${version} message`, first.body === 'hällo 🐎' && first.message.headers.key === 'a:b\\c');
    client.ack(first.message);
    await send(client, { destination }, '');
    const empty = await reader.next();
    check(`${version} empty body`, empty.body === '');
    client.ack(empty.message);
    const begun = Date.now();
    for (let n = 0; n < 50; n++) await send(client, { destination: `${destination}.other` }, 'x');
    console.log(`     ${version} ${(Date.now() - begun) / 50} ms per confirmed send`);
    const transaction = client.begin();
    transaction.send({ destination }).end('in');
    await new Promise((resolve) => transaction.commit({ onReceipt: resolve }));
    const aborted = client.begin();
    aborted.send({ destination }).end('out');
    await new Promise((resolve) => aborted.abort({ onReceipt: resolve }));
    const committed = await reader.next();
    check(`${version} transaction`, committed.body === 'in');
    if (version === '1.0') {
      client.ack(committed.message);
    } else {
      client.nack(committed.message);
    }
    await send(client, { destination }, 'after');
    check(`${version} goes on`, (await reader.next()).body === 'after');
    const error = await new Promise((resolve) => {
      client.on('error', resolve);
      client.sendFrame('COMMIT', { transaction: 'never begun' }).end();
    });
    check(`${version} error frame is read`, String(error.message).includes('Invalid transaction id'));
    client.destroy();
  }
  process.exit(failed ? 1 : 0);
}

main();
