"""notify: tells a job's webhook how the job ended, signed after Standard Webhooks, with retries over a day and a half.

Reads   jobs.finished (JobFinished) and its own jobs.finished.retry.<delay> topics.
Writes  notify.log (WebhookDelivery, one per try) and jobs.finished.retry.<delay>.
State   none that lasts; which receivers just failed to answer is kept in memory (outages.py).

At least once: a crash between the answer and the commit sends the message again, with the same webhook-id, by which
receivers recognise it. Addresses inside the operator's network are refused (ops/net).
"""
