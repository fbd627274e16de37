from django.test import TestCase
from kinds import thank

from haulier.contrib.django.models import Job
from haulier.testing import perform
from shop.models import Order


class Orders(TestCase):
    def test_enqueue_one_job_in_their_transaction(self):
        response = self.client.post("/orders", {"email": "ann@example.com"})

        job = Job.objects.get()
        self.assertEqual(response.json(), {"order": Order.objects.get().pk, "job": str(job.pk)})
        self.assertEqual((job.kind, job.tags), ("thank", ["shop"]))

    def test_are_thanked(self):
        order = Order.objects.create(email="ann@example.com")

        outcome = perform(thank, {"order_id": order.pk})

        self.assertEqual(outcome.result, {"email": "ann@example.com"})
