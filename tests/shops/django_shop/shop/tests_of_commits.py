"""What the page does not show: tests that commit, and the middleware within a transaction of the test."""

from django.test import TestCase, TransactionTestCase
from kinds import thank

from haulier.contrib.django.models import Job
from haulier.testing import perform
from shop.models import Order

WITH_DJANGO = {"HAULIER_MIDDLEWARE": "haulier.contrib.django.worker:connections"}


class Thanking(TestCase):
    def test_leaves_the_connection_of_the_test_open(self):
        order = Order.objects.create(email="ann@example.com")

        outcome = perform(thank, {"order_id": order.pk}, settings=WITH_DJANGO)

        self.assertEqual((outcome.error, outcome.result), (None, {"email": "ann@example.com"}))
        order.refresh_from_db()
        self.assertTrue(order.thanked)


class Committing(TransactionTestCase):
    def test_leaves_jobs_that_can_be_deleted(self):
        Job.objects.create(kind="thank")
        Job.objects.all().delete()

        self.assertFalse(Job.objects.exists())
