import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:")
engine = create_engine(url, pool_pre_ping=True)
Session = scoped_session(sessionmaker(engine))


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "shop_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    thanked: Mapped[bool] = mapped_column(default=False)
